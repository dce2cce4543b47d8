package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"runsc/runsc/boot"
)

// Join makes a container in a running sandbox: a gofer of its own, and the rest by a call.
// On failure nothing is left of it.
func (s *Sandbox) Join(a *StartArgs) (_ *Gofer, err error) {
	var open []*os.File
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	keep := func(f *os.File) *os.File {
		open = append(open, f)
		return f
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	keep(null)
	restore, err := raiseLimits()
	defer restore()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(a.Spec)
	if err != nil {
		return nil, err
	}
	spec, err := dataFile("spec", data)
	if err != nil {
		return nil, err
	}
	keep(spec)
	mountsR, mountsW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	keep(mountsR)

	args := boot.CreateArgs{ContainerID: a.ID, Spec: data, Console: a.Console}
	args.Files = append(args.Files, a.Stdio[:]...)
	if a.UserLog != nil {
		args.UserLog = true
		args.Files = append(args.Files, a.UserLog)
	}
	gofer := goferCommand(a)
	for range 1 + numBinds(a.Spec) {
		ours, theirs, err := socketpair("9p")
		if err != nil {
			mountsW.Close()
			return nil, err
		}
		args.Files = append(args.Files, keep(ours))
		gofer.donate("io-fds", keep(theirs))
	}
	gofer.donate("spec-fd", spec)
	gofer.donate("mounts-fd", mountsW)
	ch, err := gofer.startChild(null)
	mountsW.Close()
	if err != nil {
		return nil, err
	}
	ch.setLimits(a.Spec)
	defer func() {
		if err != nil {
			ch.stop()
		}
	}()
	list, err := io.ReadAll(mountsR)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		e := ch.epitaph()
		if e.orderly {
			return nil, errors.New(trimLines(e.words))
		}
		return nil, fmt.Errorf("gofer %s while the container was made", trimLines(e.words))
	}
	if err := json.Unmarshal(list, &args.Mounts); err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	if err := s.CreateContainer(&args); err != nil {
		return nil, err
	}
	return &Gofer{PID: ch.pid, StartTime: ch.start}, nil
}
