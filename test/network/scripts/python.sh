# python3 -m http.server in the sandbox; a client and datagrams from there.
. /tests/lib.sh
if [ $side = sandbox ]; then
	mkdir -p www; seq 10000 >www/numbers
	serve python3 -m http.server 8000 --bind :: --directory www
	await other
	python3 - <<-END
	import socket, threading
	for fam, host in (socket.AF_INET, "$OUT4"), (socket.AF_INET6, "$OUT6"):
	    s = socket.socket(fam, socket.SOCK_DGRAM); s.settimeout(10)
	    s.sendto(b"ping", (host, 7007)); print(s.recvfrom(100)[0])
	    s.connect((host, 7008)); s.send(b"x")
	    try: s.recv(10); print("an answer from nowhere")
	    except ConnectionRefusedError: print("refused")
	    s.close()
	    s = socket.create_connection((host, 7009), 10); peer = s.getpeername()[1]
	    def send(s=s):
	        s.sendall(b"a" * 3000000); s.shutdown(socket.SHUT_WR)
	    threading.Thread(target=send).start()
	    n = 0
	    while True:
	        b = s.recv(65536)
	        if not b: break
	        n += len(b)
	    print(n, peer); s.close()
	print(socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4])
	END
	signal client; until_done
else
	cat >echo.py <<-END
	import socket, threading, time
	def datagrams(fam, host):
	    s = socket.socket(fam, socket.SOCK_DGRAM); s.bind((host, 7007))
	    while True:
	        d, a = s.recvfrom(2000); s.sendto(d + b" pong", a)
	def stream(fam, host):
	    s = socket.create_server((host, 7009), family=fam)
	    while True:
	        c, _ = s.accept()
	        def copy(c=c):
	            while True:
	                b = c.recv(65536)
	                if not b: break
	                c.sendall(b)
	            c.close()
	        threading.Thread(target=copy).start()
	for f in datagrams, stream:
	    threading.Thread(target=f, args=(socket.AF_INET, "$OUT4"), daemon=True).start()
	    threading.Thread(target=f, args=(socket.AF_INET6, "$OUT6"), daemon=True).start()
	time.sleep(300)
	END
	serve python3 echo.py
	port $OUT4 7009; port $OUT6 7009; signal other
	port $IN4 8000; port $IN6 8000
	for host in $IN4 "[$IN6]"; do curl -sS "http://$host:8000/numbers" | sha256sum; done
	await client; signal "done"
fi
