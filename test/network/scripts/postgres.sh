# postgresql in the sandbox, psql and pgbench from outside.
. /tests/lib.sh
bin=$(echo /usr/lib/postgresql/*/bin)
if [ $side = sandbox ]; then
	mkdir db; chown postgres db
	setpriv --reuid postgres --regid postgres --clear-groups $bin/initdb -D db -A trust --no-sync >init.log 2>&1 || { cat init.log >&2; exit 1; }
	printf "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n" >>db/pg_hba.conf
	serve setpriv --reuid postgres --regid postgres --clear-groups $bin/postgres -D db -h '*' -p 5432 -c unix_socket_directories=/tmp
	until_done
else
	port $IN4 5432; port $IN6 5432
	for host in $IN4 $IN6; do
		sql() { psql -X -q -At -h $host -U postgres "$@"; }
		for ((n = 0; n < 100; n++)); do sql -c 'select 1' >/dev/null 2>&1 && break; sleep 0.1; done
		sql -c 'drop table if exists t; create table t (n int, s text); insert into t select i, repeat(md5(i::text), 10) from generate_series(1, 5000) i' 2>/dev/null
		sql -c 'select count(*), sum(n), md5(string_agg(s, $$,$$ order by n)) from t'
		sql -c 'select s from t order by n' | sha256sum
		sql -c "select inet_server_port(), family(inet_client_addr())"
	done
	$bin/pgbench -i -q -s 1 -h $IN4 -U postgres postgres >&2 2>&1 && $bin/pgbench -c 8 -j 2 -t 20 -h $IN4 -U postgres postgres 2>/dev/null | sed -nE 's/^number of transactions actually processed: (.*)/\1/p'
	signal "done"
fi
