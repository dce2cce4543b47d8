# redis-server in the sandbox, redis-benchmark from outside.
. /tests/lib.sh
if [ $side = sandbox ]; then
	serve redis-server --port 6379 --bind 0.0.0.0 :: --protected-mode no --save '' --appendonly no --dir /work
	until_done
else
	port $IN4 6379; port $IN6 6379
	for host in $IN4 $IN6; do
		redis-cli -h $host set key value; redis-cli -h $host get key
		redis-benchmark -h $host -q -n 5000 -c 20 -t set,get,incr >&2 && echo plain fine
		redis-benchmark -h $host -q -n 20000 -c 20 -P 16 -t set,get >&2 && echo pipelined fine
		redis-cli -h $host get counter:__rand_int__
		redis-cli -h $host dbsize >&2
	done
	redis-cli -h $IN4 set large "$(head -c 100000 /dev/zero | tr '\0' z)"; redis-cli -h $IN4 get large | wc -c
	signal "done"
fi
