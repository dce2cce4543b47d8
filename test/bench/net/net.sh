# One measurement of the network, on both sides: net.sh sandbox|outside NAME SECONDS. The
# container has the address IN, the other end of its veth OUT; /shared is one directory for
# both. The outside prints "measured NAME VALUE UNIT" lines, except for what stays inside.
set -eu
cd /work
side=$1 what=$2 seconds=$3

port() {
	local n
	for ((n = 0; n < 400; n++)); do nc -z -w 2 "$1" "$2" 2>/dev/null && return 0; sleep 0.05; done
	echo "nothing listens at $1 port $2" >&2; exit 1
}
pids=()
serve() { "$@" >"server.${#pids[@]}" 2>&1 & pids+=($!); }
finish() {
	local rc=$?
	[ $rc = 0 ] || tail -n 5 server.* >&2 || :
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || :
	: >/shared/done
	exit $rc
}
trap finish EXIT
wait_done() { until [ -e /shared/done ]; do sleep 0.05; done; }
measured() { printf 'measured %s %s %s\n' "$@"; }

# iperf NAME OPTIONS... prints Gbit/s, and the CPU time of the whole machine per GB (10^9).
iperf() {
	local name=$1 before after; shift
	before=$(awk '/^cpu / {print $2+$3+$4+$6+$7+$8}' /proc/stat)
	iperf3 -J -t "$seconds" "$@" >out || { grep -o '"error".*' out >&2; exit 1; }
	after=$(awk '/^cpu / {print $2+$3+$4+$6+$7+$8}' /proc/stat)
	python3 - "$name" $((after - before)) <<-'END'
	import json, sys
	e = json.load(open("out"))["end"]
	s = e.get("sum_received") or e["sum"]
	print("measured %s %.3f Gbit/s" % (sys.argv[1], s["bits_per_second"] / 1e9))
	if "stream" in sys.argv[1]:
	    print("measured %s_cpu %.3f s/GB" % (sys.argv[1], int(sys.argv[2]) / 100 / (s["bytes"] / 1e9)))
	if "lost_percent" in s:
	    print("measured %s_lost %.2f %%" % (sys.argv[1], s["lost_percent"]))
	END
}

case $what-$side in
iperf-sandbox) serve iperf3 -s; wait_done ;;
iperf-outside)
	port $IN 5201; sleep 0.2
	iperf up_1_stream -c $IN; sleep 0.2; iperf down_1_stream -c $IN -R; sleep 0.2
	iperf up_8_streams -c $IN -P 8; sleep 0.2; iperf down_8_streams -c $IN -P 8 -R; sleep 0.2
	iperf udp_1G -c $IN -u -b 1G -l 1400 ;;
latency-sandbox) serve /tests/probe serve :9000; wait_done ;;
latency-outside)
	port $IN 9000
	measured tcp_rr "$(/tests/probe rr tcp $IN:9000 ${seconds}s)" us
	measured udp_rr "$(/tests/probe rr udp $IN:9000 ${seconds}s)" us
	measured connections "$(/tests/probe crr $IN:9000 ${seconds}s)" /s ;;
redis-sandbox) serve redis-server --bind 0.0.0.0 --protected-mode no --save '' --appendonly no; wait_done ;;
redis-outside)
	port $IN 6379
	redis() { redis-benchmark -h $IN --csv -q -c 20 "$@" | awk -F'"' '/^"(SET|GET)/ {print $4}' | sort -n | head -n 1; }
	measured redis_P1 "$(redis -n $((10000 * seconds)) -t set,get)" /s
	measured redis_P16 "$(redis -n $((50000 * seconds)) -P 16 -t set,get)" /s ;;
nginx-sandbox)
	mkdir -p www; head -c 10000 /dev/zero | tr '\0' y >www/file
	printf 'worker_processes 2; pid /work/nginx.pid; error_log stderr; daemon off; events {} http { sendfile on; access_log off; client_body_temp_path /work/b; proxy_temp_path /work/p; fastcgi_temp_path /work/f; uwsgi_temp_path /work/u; scgi_temp_path /work/s; server { listen 8080; root /work/www; } }' >nginx.conf
	serve nginx -e stderr -c /work/nginx.conf; wait_done ;;
nginx-outside)
	port $IN 8080
	measured wrk_nginx "$(wrk -t 2 -c 50 -d ${seconds}s http://$IN:8080/file | awk '/^Requests\/sec/ {print $2}')" /s ;;
loopback-sandbox)
	serve iperf3 -s; serve /tests/probe serve :9000; port 127.0.0.1 5201; port 127.0.0.1 9000; sleep 0.2
	iperf lo_1_stream -c 127.0.0.1 | grep -v _cpu
	measured lo_tcp_rr "$(/tests/probe rr tcp 127.0.0.1:9000 ${seconds}s)" us ;;
loopback-outside) wait_done ;;
*) echo "no such measurement: $what" >&2; exit 2 ;;
esac
