# sqlite3: 50,000 rows in WAL mode, two writers, integrity.
set -eu
sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v INTEGER); CREATE INDEX ik ON t(k);'
sqlite3 db "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50000) INSERT INTO t SELECT i, 'key'||(i*7919%50000), i*i%1000 FROM n;"
sqlite3 db 'SELECT count(*), sum(v), min(k), max(k) FROM t; SELECT count(DISTINCT v) FROM t;'
sqlite3 db "BEGIN; UPDATE t SET v=v+1 WHERE id%3=0; DELETE FROM t WHERE id%10=0; COMMIT; SELECT count(*), sum(v) FROM t;"
sqlite3 db "BEGIN; DELETE FROM t; ROLLBACK; SELECT count(*) FROM t;"
for w in 1 2; do (for i in $(seq 40); do sqlite3 -cmd '.timeout 20000' db "INSERT INTO t(k,v) VALUES('w$w-$i', $i);"; done) & done; wait
sqlite3 db "SELECT count(*) FROM t WHERE k LIKE 'w_-%'; PRAGMA integrity_check;"
sqlite3 db 'PRAGMA wal_checkpoint(TRUNCATE);'; ls db* | tr '\n' ' '; echo
sqlite3 db .dump | sqlite3 copy; sqlite3 copy 'SELECT count(*), sum(v) FROM t;'
sqlite3 db 'VACUUM;'; sqlite3 db 'PRAGMA mmap_size=100000000; SELECT sum(length(k)) FROM t;' | tail -n 1
sqlite3 :memory: 'CREATE TABLE x(a); INSERT INTO x VALUES(1),(2); SELECT sum(a) FROM x;'
