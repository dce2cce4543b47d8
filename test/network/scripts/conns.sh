# A Go program with 2,000 connections at a time, the server in the sandbox and outside.
. /tests/lib.sh
if [ $side = sandbox ]; then
	ulimit -n 4096; serve /tests/probe serve :9000
	await half; port $OUT4 9000
	/tests/probe dial $OUT4:9000 2000; /tests/probe dial "[$OUT6]:9000" 500
	signal "done"
else
	ulimit -n 4096; serve /tests/probe serve :9000
	port $IN4 9000
	/tests/probe dial $IN4:9000 2000; /tests/probe dial "[$IN6]:9000" 500
	signal half; until_done
fi
