# ip, ss, netstat, ifconfig, route: what they show, and changes.
. /tests/lib.sh
if [ $side = outside ]; then
	serve nc -lk $OUT4 7000
	until_done
else
	port $OUT4 7000
	strip() { sed -E 's/ (qdisc|qlen|group|state|mode) [^ ]+//g; s/link-netnsid [0-9]+//; s/link-netns [^ ]+//; s/@[^: ]+//; s/(valid|preferred)_lft [^ ]+//g; s/proto kernel_(lo|ll) ?//g; s/[[:space:]]+$//; s/  +/ /g; s/scopeid 0x[0-9a-f]+<[a-z]+>//' | grep -v 'fe80:' | grep -vE '^ *$|altname|permaddr'; }
	ip -o link show lo | strip | cut -c1-60; ip -o -4 addr | strip; ip -o -6 addr | strip
	ip -4 route | strip; ip -6 route | strip | grep -v multicast | sort
	ip route get $OUT4 | head -n 1 | strip | sed 's/uid 0//; s/ cache//'; ip -6 route get $OUT6 | head -n 1 | sed 's/ metric.*//; s/ proto.*src/ src/'
	ip rule; ip -6 rule
	exec 9<>/dev/tcp/$OUT4/7000
	ss -tan | awk 'NR > 1 {sub(/:[0-9]+$/, ":x", $4); print $1, $4, $5}'; netstat -tan | awk '/^tcp/ {sub(/:[0-9]+$/, ":x", $4); print $1, $4, $5, $6}'
	serve nc -lk 0.0.0.0 7100; serve nc -lku 0.0.0.0 7101; serve nc -6 -lk :: 7102; port 127.0.0.1 7100; port ::1 7102
	ss -ltnH | awk '{print $1, $4, $5}' | sort; ss -lunH | awk '{print $4}' | sort; netstat -ltn | awk '/^tcp/ {print $1, $4, $6}' | sort; netstat -lun | awk '/^udp/ {print $1, $4}' | sort
	ss -tlnpH 'sport = :7100' | grep -c '"nc"'
	exec 9>&-
	dev=$(ip -o -4 addr show to $IN4 | awk '{print $2; exit}')
	cat /sys/class/net/$dev/mtu /sys/class/net/$dev/operstate /sys/class/net/lo/ifindex; awk -F: 'NR > 2 {gsub(/ /, "", $1); print $1}' /proc/net/dev | sort
	awk 'NR > 1 {print $1, $2, $3, $8}' /proc/net/route | sort
	ifconfig $dev | awk '/inet |mtu/ {print $1, $2, $3, $4}' | sed "s/flags=[0-9]*<.*>//"; route -n | awk 'NR > 2 {print $1, $2, $3, $8}' | sort
	# Changes.
	ip addr add 198.18.99.1/24 dev $dev; ip -o -4 addr show dev $dev | strip; ip route | grep -c 198.18.99.0/24
	ip addr add 198.18.99.1/24 dev $dev 2>&1 | head -n 1
	ip route add 198.18.50.0/24 via $OUT4; ip route show 198.18.50.0/24 | strip; ip route replace 198.18.50.0/24 via $OUT4 metric 5; ip route show 198.18.50.0/24 | strip | sort; ip route del 198.18.50.0/24 metric 5; ip route del 198.18.50.0/24; ip route show 198.18.50.0/24 | wc -l
	ip route add 198.18.51.0/24 via 203.0.113.1 2>&1 | head -n 1; ip route del 198.18.51.0/24 2>&1 | head -n 1
	ip route add blackhole 198.18.52.0/24; ping -c 1 -W 1 198.18.52.1 2>&1 | grep -o 'Invalid argument' | head -n 1; ip route del blackhole 198.18.52.0/24
	ip -6 addr add fd00:99::1/64 dev $dev nodad; ip -o -6 addr show dev $dev to fd00:99::/64 | strip; ip -6 addr del fd00:99::1/64 dev $dev
	ip addr del 198.18.99.1/24 dev $dev; ip -o -4 addr show dev $dev | wc -l
	ip neigh show $OUT4 | grep -cE 'REACHABLE|STALE|DELAY|PROBE'
	ip link set $dev mtu 1400; ip -o link show $dev | grep -o 'mtu [0-9]*'; ping -c 1 -s 1373 -M do $OUT4 2>&1 | grep -ciE 'too (long|big|large)' || :
	ip link set $dev mtu 1500
	ip link set $dev down; ping -c 1 -W 1 $OUT4 2>&1 | grep -oi 'network is unreachable' | head -n 1; ip link set $dev up
	ping -c 1 -W 5 $OUT4 | grep -o '1 received'
	ip link set nosuch up 2>&1 | head -n 1
	signal "done"
fi
