# 50,000 rows in one transaction, then 200 in one each, which wait for the disk.
. /tests/measure.sh
many=$(scaled 50000) few=$(scaled 200)
{
	echo 'CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, x REAL); CREATE INDEX i ON t(name); BEGIN;'
	for ((i = 0; i < many; i++)); do echo "INSERT INTO t(name, x) VALUES('name $((i * 7919 % 100003))', $i.5);"; done
	echo 'COMMIT;'
} >many.sql
for ((i = 0; i < few; i++)); do echo "INSERT INTO t(name, x) VALUES('single $i', $i);"; done >few.sql
load() { sqlite3 -bail x.db <"$1"; }
measured sqlite load many.sql
measured sqlite_commits load few.sql
want rows $((many + few)) "$(sqlite3 x.db 'SELECT count(*) FROM t')"
