# dig and the resolver of libc in the sandbox against a server outside.
. /tests/lib.sh
if [ $side = outside ]; then
	serve dnsmasq -k -C /dev/null -u root --no-resolv --no-hosts --pid-file=/work/dns.pid --listen-address=$OUT4 --listen-address=$OUT6 --bind-interfaces --address=/name.test/198.18.1.1 --address=/name.test/fd00::99 --txt-record=long.test,"$(head -c 250 /dev/zero | tr '\0' a)","$(head -c 250 /dev/zero | tr '\0' b)","$(head -c 250 /dev/zero | tr '\0' c)" --local=/test/
	until_done
else
	port $OUT4 53
	for host in $OUT4 $OUT6; do
		dig +short +time=5 +tries=2 @$host name.test A; dig +short +time=5 +tries=2 @$host name.test AAAA
		dig +tcp +short +time=5 @$host name.test A
		dig +short +time=5 +bufsize=512 @$host long.test TXT | tr -d '" \n' | wc -c
		dig +time=5 @$host absent.test | grep -o 'status: [A-Z]*'
		for ((i = 0; i < 50; i++)); do dig +short +time=5 @$host x$i.name.test A; done | sort | uniq -c
	done
	echo "nameserver $OUT4" >/etc/resolv.conf
	getent ahosts name.test | awk '{print $1, $2}' | sort; getent hosts absent.test || echo absent
	python3 -c 'import socket; print(sorted({a[4][0] for a in socket.getaddrinfo("name.test", 80)}))'
	signal "done"
fi
