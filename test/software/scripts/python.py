"""python3: threads, subprocesses, multiprocessing, asyncio, mmap, ctypes, sockets, files."""
import asyncio, contextlib, ctypes, errno, fcntl, hashlib, io, json, mmap, multiprocessing, os, queue, select, shutil, signal
import socket, struct, subprocess, sys, tempfile, threading, time, zlib


def section(name):
    print("==", name, flush=True)


section("threads")
q, out, lock = queue.Queue(), [], threading.Lock()


def worker():
    while (n := q.get()) is not None:
        with lock:
            out.append(n * n)
        q.task_done()


ts = [threading.Thread(target=worker) for _ in range(8)]
[t.start() for t in ts]
[q.put(i) for i in range(1000)]
q.join()
[q.put(None) for _ in ts]
[t.join() for t in ts]
print(len(out), sum(out))
ev, seen = threading.Event(), []
t = threading.Timer(0.05, lambda: (seen.append(1), ev.set()))
t.start()
print(ev.wait(5), seen)
cond, items = threading.Condition(), []


def producer():
    for i in range(100):
        with cond:
            items.append(i)
            cond.notify()


threading.Thread(target=producer).start()
got = 0
while got < 100:
    with cond:
        while not items:
            cond.wait()
        items.pop()
        got += 1
print("consumed", got)

section("subprocess")
print(subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True))
p = subprocess.Popen(["sleep", "100"])
p.terminate()
print(p.wait())
try:
    subprocess.run(["sleep", "100"], timeout=0.1)
except subprocess.TimeoutExpired:
    print("timeout")
try:
    subprocess.run(["/no/such/program"])
except FileNotFoundError as e:
    print(e.errno == errno.ENOENT)
print(subprocess.check_output("echo $((6*7)) | tr 4 5", shell=True, text=True).strip())
ps = [subprocess.Popen([sys.executable, "-c", f"print({i}**2)"], stdout=subprocess.PIPE) for i in range(6)]
print([int(p.communicate()[0]) for p in ps])

section("fork and signals")
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, b"child")
    os._exit(5)
print(os.read(r, 10), os.waitstatus_to_exitcode(os.wait()[1]))
hits = []
signal.signal(signal.SIGUSR1, lambda s, f: hits.append(s))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.02)
signal.signal(signal.SIGALRM, lambda s, f: hits.append(s))
time.sleep(0.1)
print([int(h) for h in hits])
print(signal.sigtimedwait([signal.SIGUSR2], 0.01))

section("asyncio over a unix socket")


async def main():
    async def serve(rd, wr):
        while line := await rd.readline():
            wr.write(line.upper())
            await wr.drain()
        wr.close()

    path = os.path.join(os.getcwd(), "s")
    srv = await asyncio.start_unix_server(serve, path)

    async def client(i):
        rd, wr = await asyncio.open_unix_connection(path)
        total = 0
        for k in range(20):
            wr.write(f"client {i} line {k}\n".encode())
            total += len(await rd.readline())
        wr.close()
        await wr.wait_closed()
        return total

    print(sum(await asyncio.gather(*(client(i) for i in range(20)))))
    pr = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print(await pr.communicate(b"piped"), pr.returncode)
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.05)
    except asyncio.TimeoutError:
        print("timed out")
    srv.close()


asyncio.run(main())

section("mmap and files")
with open("m", "w+b") as f:
    f.truncate(1 << 20)
    m = mmap.mmap(f.fileno(), 0)
    m[5000:5005] = b"hello"
    m.flush()
    f.seek(5000)
    print(f.read(5), m.find(b"hello"))
    m.resize(2 << 20)
    print(len(m), os.fstat(f.fileno()).st_size)
    m.close()
a = mmap.mmap(-1, 4096)
if os.fork() == 0:
    a[0:4] = b"kids"
    os._exit(0)
os.wait()
print(a[0:4])
d = tempfile.mkdtemp(dir=".")
for i in range(200):
    with open(f"{d}/{i}", "w") as f:
        f.write(str(i) * i)
print(sum(e.stat().st_size for e in os.scandir(d)))
shutil.copytree(d, d + "2")
shutil.rmtree(d)
print(len(os.listdir(d + "2")), os.path.exists(d))
fd = os.open("lock", os.O_CREAT | os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
fd2 = os.open("lock", os.O_RDWR)
with contextlib.suppress(BlockingIOError):
    fcntl.flock(fd2, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("no lock")
with open("big", "wb", buffering=0) as f:
    print(os.writev(f.fileno(), [b"x" * 100000, b"y" * 100000]))
with open("big", "rb") as i, open("copy", "wb") as o:
    n = 0
    while k := os.sendfile(o.fileno(), i.fileno(), n, 50000):
        n += k
print(hashlib.sha256(open("copy", "rb").read()).hexdigest()[:16])

section("ctypes")
libc = ctypes.CDLL(None, use_errno=True)
print(libc.strlen(b"twelve chars"), libc.getpid() == os.getpid())
cb = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
arr = (ctypes.c_int * 5)(5, 2, 9, 1, 7)
libc.qsort(arr, 5, 4, cb)
print(list(arr))
print(libc.open(b"/no/such", 0), ctypes.get_errno() == errno.ENOENT)

section("sockets and polling")
a, b = socket.socketpair()
a.sendall(b"x" * 70000)
print(len(b.recv(70000, socket.MSG_WAITALL)))
print(select.select([b], [b], [], 0)[0])
ep = select.epoll()
ep.register(b, select.EPOLLIN)
a.send(b"!")
print(ep.poll(1)[0][1])
socket.send_fds(a, [b"f"], [os.open("/etc/hostname" if os.path.exists("/etc/hostname") else "/etc/passwd", os.O_RDONLY)])
b.recv(1)
msg, fds, _, _ = socket.recv_fds(b, 10, 2)
print(msg, len(fds), len(os.read(fds[0], 3)) > 0)
print(json.loads(json.dumps({"k": [1, 2.5, None]})), zlib.crc32(b"abc"), struct.pack(">I", 7))
u = os.uname()
print(u.sysname, u.machine, os.cpu_count() >= 1, time.monotonic() > 0)
