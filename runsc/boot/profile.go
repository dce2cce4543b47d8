package boot

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"time"
)

// maxProfile bounds how long a client can keep a profile running.
const maxProfile = time.Hour

// profile makes a control method of a function that writes a profile to w. Profiles need
// system calls that the filter only allows with --profile.
func (c *Controller) profile(write func(w io.Writer, d time.Duration) error) func(*ProfileArgs, *struct{}) error {
	return func(a *ProfileArgs, _ *struct{}) error {
		defer func() {
			for _, f := range a.Files {
				f.Close()
			}
		}()
		if !c.conf.Profile {
			return errors.New("profiling is not enabled: start the sandbox with --profile")
		}
		if len(a.Files) != 1 {
			return errors.New("profile needs one file")
		}
		return write(blockingFile{a.Files[0]}, min(max(time.Duration(a.DurationNS), 0), maxProfile))
	}
}

// blockingFile hides everything but Write of a file.
type blockingFile struct{ f *os.File }

func (b blockingFile) Write(p []byte) (int, error) { return b.f.Write(p) }

func profileHeap(w io.Writer, _ time.Duration) error {
	runtime.GC() // so that the profile is of now, not of the last collection
	return pprof.Lookup("heap").WriteTo(w, 0)
}

func profileCPU(w io.Writer, d time.Duration) error {
	if err := pprof.StartCPUProfile(w); err != nil {
		return err
	}
	time.Sleep(d)
	pprof.StopCPUProfile()
	return nil
}

func profileBlock(w io.Writer, d time.Duration) error {
	runtime.SetBlockProfileRate(1)
	time.Sleep(d)
	runtime.SetBlockProfileRate(0)
	return pprof.Lookup("block").WriteTo(w, 0)
}

func profileMutex(w io.Writer, d time.Duration) error {
	runtime.SetMutexProfileFraction(1)
	time.Sleep(d)
	runtime.SetMutexProfileFraction(0)
	return pprof.Lookup("mutex").WriteTo(w, 0)
}

func profileTrace(w io.Writer, d time.Duration) error {
	if err := trace.Start(w); err != nil {
		return err
	}
	time.Sleep(d)
	trace.Stop()
	return nil
}
