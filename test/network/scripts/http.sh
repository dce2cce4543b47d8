# curl and wget in the sandbox against nginx outside.
. /tests/lib.sh
if [ $side = outside ]; then
	mkdir -p www logs; head -c 5000000 /dev/zero | tr '\0' 'x' >www/big; echo hello >www/hello
	printf 'worker_processes 1; pid /work/nginx.pid; error_log stderr; daemon off; events {} http { access_log off; client_body_temp_path /work/b; proxy_temp_path /work/p; fastcgi_temp_path /work/f; uwsgi_temp_path /work/u; scgi_temp_path /work/s; server { listen 0.0.0.0:8080; listen [::]:8080; root /work/www; } }' >nginx.conf
	serve nginx -e stderr -c /work/nginx.conf
	until_done
else
	port $OUT4 8080; port $OUT6 8080
	for host in $OUT4 "[$OUT6]"; do
		curl -sS "http://$host:8080/hello"; curl -sS "http://$host:8080/big" | sha256sum
		wget -q -O - "http://$host:8080/big" | wc -c
		curl -sS -o /dev/null -w '%{http_code} %{size_download} %{num_connects}\n' "http://$host:8080/hello" -o /dev/null "http://$host:8080/absent"
		curl -sS -r 100-199 "http://$host:8080/big" | wc -c
		seq 20 | xargs -P 8 -I{} curl -sS -o /dev/null -w '%{http_code}\n' "http://$host:8080/big" | sort | uniq -c
	done
	curl -sS -m 5 http://$OUT4:1/ 2>&1 | grep -oE 'Connection refused|Failed to connect' | head -n 1
	signal "done"
fi
