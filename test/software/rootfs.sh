#!/bin/bash
# Makes the Debian root filesystem of the software tests, once, and prints its directory.
#
#   rootfs.sh CACHE-DIR
#
# The name of the result holds a hash of this script, so a change of the package list makes
# a new one and an old one is never mistaken for it. A half-made one is never left under
# the final name.
set -eu
cache=$1
packages=bash,coreutils,findutils,sed,gawk,grep,tar,gzip,xz-utils,bzip2,perl,python3-minimal,libpython3-stdlib,python3,gcc,libc6-dev,make,git,sqlite3,procps,apt,dpkg,dpkg-dev,util-linux,file,bc,diffutils,patch,redis-server,redis-tools,ca-certificates,curl,wget,iputils-ping,iproute2,net-tools,bind9-dnsutils,dnsmasq-base,nginx-light,wrk,iperf3,netcat-openbsd,openssh-server,openssh-client,postgresql,stress-ng
hash=$(sha256sum "$0" | cut -c1-12)
root=$cache/debian-$hash
if [ ! -d "$root" ]; then
	mkdir -p "$cache"
	rm -rf "$cache"/debian-* "$cache"/making-*
	making=$cache/making-$$
	trap 'rm -rf "$making"' EXIT
	mirror=http://deb.debian.org/debian suite=bookworm
	{
		# Without a keyring beyond Debian's own; the variant holds only what apt needs.
		debootstrap --variant=minbase --include="$packages" "$suite" "$making" "$mirror" ||
			{ apt-get update -q && rm -rf "$making" && debootstrap --variant=minbase --include="$packages" "$suite" "$making" "$mirror"; }
	} >"$cache/debootstrap.log" 2>&1 </dev/null || { tail -n 20 "$cache/debootstrap.log" >&2; exit 1; }
	rm -rf "$making"/var/cache/apt/archives/*.deb "$making"/usr/share/doc/* "$making"/usr/share/locale/* "$making"/usr/share/man/*
	: >"$making/etc/resolv.conf"
	mkdir -p "$making"/work "$making"/tests "$making"/go "$making"/src
	mv "$making" "$root"
	trap - EXIT
fi
echo "$root"
