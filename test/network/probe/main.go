// Program probe is both ends of what tests and benchmarks of the network want to know:
//
//	probe serve ADDRESS         echoes, over TCP and UDP
//	probe dial ADDRESS N        opens N connections, sends over each of them twice while all
//	                            are open, and checks what comes back
//	probe hold ADDRESS N        opens N connections, sends a byte over each, says "holding", and
//	                            keeps them until its standard input ends
//	probe rr NET ADDRESS TIME   sends one byte and waits for it, again and again, over tcp or
//	                            udp; prints microseconds a turn
//	probe crr ADDRESS TIME      does so with a connection for each byte; prints turns a second
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 3 && args[0] == "dial":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return dial(args[1], n)
	case len(args) == 3 && args[0] == "hold":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return hold(args[1], n)
	case len(args) == 4 && args[0] == "rr":
		d, err := time.ParseDuration(args[3])
		if err != nil {
			return err
		}
		return turns(args[1], args[2], d)
	case len(args) == 3 && args[0] == "crr":
		d, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return connections(args[1], d)
	}
	return errors.New("usage: probe serve ADDRESS | dial ADDRESS N | hold ADDRESS N | rr tcp|udp ADDRESS TIME | crr ADDRESS TIME")
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := u.ReadFrom(buf)
			if err == nil {
				u.WriteTo(buf[:n], from)
			}
		}
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			// Not of the net.Conns themselves, which would take a pipe for each.
			io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		}()
	}
}

// open opens n connections. Those that it returns are to be closed even if there is an error.
func open(addr string, n int) ([]net.Conn, error) {
	conns := make([]net.Conn, n)
	err := each(n, func(i int) (err error) {
		conns[i], err = net.DialTimeout("tcp", addr, 30*time.Second)
		return err
	})
	return conns, err
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

func hold(addr string, n int) error {
	conns, err := open(addr, n)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	if err := each(n, func(i int) error { return turn(conns[i]) }); err != nil {
		return err
	}
	fmt.Println("holding")
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func dial(addr string, n int) error {
	conns, err := open(addr, n)
	defer closeAll(conns)
	if err != nil {
		return err
	}
	for range 2 {
		if err := each(n, func(i int) error { return echo(conns[i], i) }); err != nil {
			return err
		}
	}
	fmt.Printf("%d connections fine\n", n)
	return nil
}

// each calls f for 0 to n-1, 100 calls at a time, and returns an error of one.
func each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)
	slots := make(chan struct{}, 100)
	for i := range n {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			if err := f(i); err != nil {
				errs <- fmt.Errorf("connection %d: %w", i, err)
			}
			<-slots
		}()
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func echo(c net.Conn, i int) error {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	want := bytes.Repeat([]byte{byte(i)}, 1000+i)
	if _, err := c.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return errors.New("other bytes came back")
	}
	return nil
}

// turn sends a byte and reads it again.
func turn(c net.Conn) error {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	b := []byte{7}
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

func turns(network, addr string, d time.Duration) error {
	c, err := net.Dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	began, n := time.Now(), 0
	for time.Since(began) < d {
		if err := turn(c); err != nil {
			return err
		}
		n++
	}
	fmt.Printf("%.2f\n", time.Since(began).Seconds()*1e6/float64(n))
	return nil
}

func connections(addr string, d time.Duration) error {
	began, n := time.Now(), 0
	for time.Since(began) < d {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		err = turn(c)
		c.Close()
		if err != nil {
			return err
		}
		n++
	}
	fmt.Printf("%.0f\n", float64(n)/time.Since(began).Seconds())
	return nil
}
