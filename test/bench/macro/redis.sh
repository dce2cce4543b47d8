# redis-benchmark, 20 clients over a unix socket, one request at a time each.
. /tests/measure.sh
n=$(scaled 20000)
sock=/tmp/redis.sock
redis-server --port 0 --unixsocket $sock --save '' --appendonly no --dir /work --loglevel warning >redis.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server || :' EXIT
for ((i = 0; i < 600; i++)); do
	[ "$(redis-cli -s $sock ping 2>/dev/null || :)" = PONG ] && break
	kill -0 $server || { cat redis.log >&2; exit 1; }
	sleep 0.05
done
measured redis redis-benchmark -s $sock -q -c 20 -n "$n" -t set,get,incr,lpush,lpop
want "requests of one kind" "$n" "$(redis-cli -s $sock get counter:__rand_int__)"
