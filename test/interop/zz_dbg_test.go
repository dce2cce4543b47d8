package interop

import (
	"bufio"
	"fmt"
	"golang.org/x/sys/unix"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"testing"
	"time"
)

func cpu() time.Duration {
	var r unix.Rusage
	unix.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
func TestZZ(t *testing.T) {
	for _, dev := range []device{tap, veth} {
		w := newWorld(t, dev, false)
		w.setMTU(t, 1500)
		var cmd *exec.Cmd
		must(t, "peer", w.inside(func() error {
			cmd = exec.Command("python3", "/tmp/peer.py")
			o, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				return err
			}
			_, err := bufio.NewReader(o).ReadString('\n')
			return err
		}))
		defer func() { cmd.Process.Kill(); cmd.Wait() }()
		for _, up := range []bool{true, false} {
			us, err := w.connect(netip.AddrPortFrom(theirs[0], 7777))
			must(t, "connect", err)
			const total = 4 << 30
			if p := os.Getenv("PROF"); p != "" {
				f, _ := os.Create(fmt.Sprintf("%s.%v.%v", p, dev, up))
				pprof.StartCPUProfile(f)
			}
			t0 := time.Now()
			c0 := cpu()
			buf := make([]byte, 256<<10)
			n := 0
			if up {
				us.Write([]byte("u"))
				for n < total {
					k, err := us.Write(buf)
					n += k
					must(t, "w", err)
				}
			} else {
				us.Write([]byte("d"))
				for n < total {
					k, err := io.Reader(us).Read(buf)
					n += k
					must(t, "r", err)
				}
			}
			d := time.Since(t0)
			pprof.StopCPUProfile()
			i := us.Info()
			fmt.Printf("%v up=%v %.2f Gbit/s cpu/GB %.2fs; rtt %v cwnd %d ssth %d retr %d rto %d segsout %d in %d rcvwnd %d\n", dev, up, float64(n)*8/d.Seconds()/1e9, (cpu()-c0).Seconds()/float64(n)*1e9, i.RTT, i.CongestionWindow, i.SendThreshold, i.TotalRetransSegments, i.TotalRTO, i.SegmentsOut, i.SegmentsIn, i.ReceiveWindow)
			us.Abort()
		}
	}
}
