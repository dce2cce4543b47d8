# nginx in the sandbox, loaded from outside.
. /tests/lib.sh
if [ $side = sandbox ]; then
	mkdir -p www; head -c 100000 /dev/zero | tr '\0' 'y' >www/file; echo hello >www/hello
	printf 'worker_processes 2; pid /work/nginx.pid; error_log stderr; daemon off; events {} http { sendfile on; access_log off; client_body_temp_path /work/b; proxy_temp_path /work/p; fastcgi_temp_path /work/f; uwsgi_temp_path /work/u; scgi_temp_path /work/s; server { listen 0.0.0.0:8080; listen [::]:8080; root /work/www; } }' >nginx.conf
	serve nginx -e stderr -c /work/nginx.conf
	until_done
else
	port $IN4 8080; port $IN6 8080
	for host in $IN4 "[$IN6]"; do
		curl -sS "http://$host:8080/hello"; curl -sS "http://$host:8080/file" | sha256sum
		wrk -t 2 -c 50 -d 2s "http://$host:8080/file" >wrk.out; cat wrk.out >&2
		grep -cE 'Socket errors|Non-2xx' wrk.out || :
		about requests "$(sed -nE 's/^ *([0-9]+) requests in.*/\1/p' wrk.out)" 200
	done
	signal "done"
fi
