# dpkg -i of a local package, and apt-get of another from a file: repository.
set -eu
export DEBIAN_FRONTEND=noninteractive
build() {
	mkdir -p $1/DEBIAN $1/usr/share/$1
	printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: T <t@example.org>\nDepends: %s\nDescription: test\n' $1 $2 "$3" >$1/DEBIAN/control
	printf '#!/bin/sh\necho "configured $1 in %s"\n' $1 >$1/DEBIAN/postinst; chmod 755 $1/DEBIAN/postinst
	echo data $2 >$1/usr/share/$1/data
	dpkg-deb --root-owner-group -b $1 . >/dev/null
}
build alpha 1.0 bash; build beta 2.0 alpha
dpkg -i alpha_1.0_all.deb | tail -n 1; cat /usr/share/alpha/data; dpkg -s alpha | grep Status; dpkg -L alpha | tail -n 1
dpkg --verify alpha && echo verified
mkdir -p repo; mv *.deb repo; (cd repo; dpkg-scanpackages . 2>/dev/null >Packages)
mkdir -p etc parts; echo "deb [trusted=yes] file:$PWD/repo ./" >sources
opt="-o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=$PWD/parts -o APT::Sandbox::User=root"
apt-get $opt -qq update && echo updated
apt-get $opt -qq -y install beta >log 2>&1 </dev/null || cat log; grep -c 'configured configure' log
dpkg -l alpha beta | awk '/^ii/ {print $2, $3}'; apt-cache $opt show beta | grep Depends
apt-get $opt -qq -y purge alpha >log 2>&1 </dev/null || cat log
dpkg -l alpha beta 2>/dev/null | grep -c ^ii || true; ls /usr/share/alpha 2>/dev/null || echo gone
