# apt-get update and install from a repository outside, over http.
. /tests/lib.sh
export DEBIAN_FRONTEND=noninteractive
if [ $side = outside ]; then
	mkdir -p pkg/DEBIAN pkg/usr/share/alpha www
	printf 'Package: alpha\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: test\n' >pkg/DEBIAN/control
	head -c 3000000 /dev/urandom >pkg/usr/share/alpha/data
	dpkg-deb --root-owner-group -b pkg www/alpha_1.0_all.deb >/dev/null
	(cd www; dpkg-scanpackages . 2>/dev/null >Packages; gzip -k Packages)
	serve python3 -m http.server 8000 --bind :: --directory www
	until_done
else
	port $OUT4 8000
	mkdir -p parts
	for host in $OUT4 "[$OUT6]"; do
		echo "deb [trusted=yes] http://$host:8000/ ./" >sources
		opt="-o Dir::Etc::sourcelist=$PWD/sources -o Dir::Etc::sourceparts=$PWD/parts"
		apt-get $opt -qq update 2>&1 && echo updated
		apt-get $opt -qq -y install alpha >log 2>&1 </dev/null || cat log
		dpkg -l alpha | awk '/^ii/ {print $2, $3}'; stat -c %s /usr/share/alpha/data
		apt-get $opt -qq -y purge alpha >log 2>&1 </dev/null || cat log
		apt-get clean
	done
	signal "done"
fi
