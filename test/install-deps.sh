#!/bin/bash
# Installs what the tests need from Debian's packages: only what is missing, and the
# package lists are fetched only when something is.
set -eu

packages=(
	gcc libc6-dev        # the syscall tests are C; the race detector needs cgo
	busybox-static       # rootfs of test/busybox and test/e2e
	debootstrap          # rootfs of test/software
	util-linux iproute2 procps
	iptables             # runsc do gives a network by NAT
	runc                 # the tests check themselves against it, and make bench compares
)

missing=()
for p in "${packages[@]}"; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" != 0 ]; then
	echo "install-deps: missing packages, and not root: ${missing[*]}" >&2
	exit 1
fi
echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null; }
install >/dev/null 2>&1 || { apt-get update -q </dev/null && install; }
