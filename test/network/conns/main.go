// Program conns holds many TCP connections at a time: "serve ADDRESS" echoes, "dial ADDRESS N"
// opens N, sends over each of them twice while all are open, and checks what comes back.
package main

import (
	"bytes"
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
	}
	return fmt.Errorf("usage: conns serve ADDRESS | conns dial ADDRESS N")
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
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

func dial(addr string, n int) error {
	conns := make([]net.Conn, n)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if err := each(n, func(i int) (err error) {
		conns[i], err = net.DialTimeout("tcp", addr, 30*time.Second)
		return err
	}); err != nil {
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
		return fmt.Errorf("other bytes came back")
	}
	return nil
}
