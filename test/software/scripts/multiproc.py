"""multiprocessing with both start methods; it needs a file of its own for spawn."""
import multiprocessing as mp, os, time


def square(x):
    return x * x


def produce(q, n):
    for i in range(n):
        q.put(i)


def add(v, n):
    for _ in range(n):
        with v.get_lock():
            v.value += 1


def main():
    for method in "fork", "spawn":
        c = mp.get_context(method)
        with c.Pool(3) as pool:
            print(method, sum(pool.map(square, range(500))))
        q = c.Queue()
        ps = [c.Process(target=produce, args=(q, 100)) for _ in range(3)]
        [p.start() for p in ps]
        print(sum(q.get() for _ in range(300)))
        [p.join() for p in ps]
        v = c.Value("i", 0)
        ps = [c.Process(target=add, args=(v, 200)) for _ in range(3)]
        [p.start() for p in ps]
        [p.join() for p in ps]
        print(v.value, [p.exitcode for p in ps])
        p = c.Process(target=time.sleep, args=(100,))
        p.start()
        p.kill()
        p.join()
        print(p.exitcode)
    a, b = mp.Pipe()
    p = mp.Process(target=lambda: b.send({"pid": os.getpid()}))
    p.start()
    print(a.recv()["pid"] == p.pid)
    p.join()


if __name__ == "__main__":
    main()
