// Command goprog exercises the Go runtime as servers use it: goroutines and channels,
// timers, child processes, signals, unix sockets, files, maps of memory, and the garbage
// collector under load. It is built statically by the software tests and prints only what
// is the same in every run.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"goroutines", goroutines}, {"mutexes", mutexes}, {"timers", timers}, {"processes", processes},
		{"signals", signals}, {"unix sockets", unixSockets}, {"files", files}, {"mmap", mapped}, {"garbage", garbage}, {"panic", recovered},
	} {
		done := make(chan error, 1)
		go func() { done <- step.run() }()
		select {
		case err := <-done:
			fmt.Println(step.name, "error:", err)
		case <-time.After(60 * time.Second):
			fmt.Println(step.name, "hangs")
			os.Exit(1)
		}
	}
}

func goroutines() error {
	ch, out := make(chan int), make(chan int)
	for range 1000 {
		go func() {
			for x := range ch {
				out <- x * 2
			}
		}()
	}
	go func() {
		for i := range 10000 {
			ch <- i
		}
		close(ch)
	}()
	sum := 0
	for range 10000 {
		sum += <-out
	}
	fmt.Println("sum", sum)
	return nil
}

func mutexes() error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var a atomic.Int64
	n := 0
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			for range 20000 {
				mu.Lock()
				n++
				mu.Unlock()
				a.Add(1)
			}
		}()
	}
	wg.Wait()
	fmt.Println(n, a.Load())
	return nil
}

func timers() error {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	began := time.Now()
	for range 10 {
		<-t.C
	}
	if d := time.Since(began); d < 45*time.Millisecond {
		return fmt.Errorf("ten ticks in %v", d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

func processes() error {
	out, err := exec.Command("/bin/sh", "-c", "cat; echo $X; exit 3").CombinedOutput()
	fmt.Printf("%q %v\n", out, err)
	cmd := exec.Command("/bin/cat")
	cmd.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
	out, err = cmd.Output()
	fmt.Println(len(out), err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(ctx, "/bin/sleep", "100").Run())
	_, err = exec.LookPath("no-such-program")
	fmt.Println(errors.Is(err, exec.ErrNotFound))
	var wg sync.WaitGroup
	var good atomic.Int64
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if exec.Command("/bin/true").Run() == nil {
				good.Add(1)
			}
		}()
	}
	wg.Wait()
	fmt.Println(good.Load(), "children")
	return nil
}

func signals() error {
	ch := make(chan os.Signal, 10)
	signal.Notify(ch, syscall.SIGUSR1, syscall.SIGTERM)
	defer signal.Stop(ch)
	for _, s := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGTERM} {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			return err
		}
		fmt.Println(<-ch)
	}
	return nil
}

func unixSockets() error {
	l, err := net.Listen("unix", "gosock")
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				s := bufio.NewScanner(c)
				for s.Scan() {
					fmt.Fprintln(c, strings.ToUpper(s.Text()))
				}
			}()
		}
	}()
	var wg sync.WaitGroup
	var total atomic.Int64
	for i := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := net.Dial("unix", "gosock")
			if err != nil {
				fmt.Println(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for k := range 50 {
				fmt.Fprintf(c, "client %d line %d\n", i, k)
				line, err := r.ReadString('\n')
				if err != nil {
					fmt.Println(err)
					return
				}
				total.Add(int64(len(line)))
			}
		}()
	}
	wg.Wait()
	fmt.Println("bytes", total.Load())
	c, err := net.Dial("unix", "gosock")
	if err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err = c.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	return c.Close()
}

func files() error {
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(".", fmt.Sprintf("gofile%d", i)), make([]byte, i), 0o644); err != nil {
			return err
		}
	}
	names, err := filepath.Glob("gofile*")
	fmt.Println(len(names), err)
	f, err := os.OpenFile("gobig", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	for i := range 100 {
		b := []byte(strings.Repeat(string(rune('a'+i%26)), 10000))
		f.Write(b)
	}
	f.Seek(0, io.SeekStart)
	n, err := io.Copy(h, f)
	fmt.Printf("%d %x %v\n", n, h.Sum(nil)[:8], err)
	_, err = os.Open("/no/such/file")
	fmt.Println(err)
	return f.Close()
}

func mapped() error {
	f, err := os.Create("gomap")
	if err != nil {
		return err
	}
	defer f.Close()
	f.Truncate(1 << 20)
	m, err := syscall.Mmap(int(f.Fd()), 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m[70000:], "through the map")
	b := make([]byte, 15)
	f.ReadAt(b, 70000)
	fmt.Printf("%s\n", b)
	return syscall.Munmap(m)
}

func garbage() error {
	var keep [64][]byte
	for i := range 20000 {
		keep[i%64] = make([]byte, 16<<10)
		keep[i%64][i%1000] = 1
	}
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	fmt.Println(ms.NumGC > 3, runtime.NumCPU() >= 1, len(keep))
	return nil
}

func recovered() (err error) {
	defer func() { err = fmt.Errorf("recovered: %v", recover()) }()
	var p *int
	*p = 1
	return nil
}
