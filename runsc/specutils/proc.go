package specutils

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// StartTime returns when a process was started, in clock ticks since boot: field 22 of
// /proc/PID/stat, see proc(5). With the pid it names one process for ever.
func StartTime(pid int) (uint64, error) {
	state, start, err := readStat(pid)
	if err == nil && (state == 'Z' || state == 'X') {
		err = unix.ESRCH
	}
	return start, err
}

func readStat(pid int) (state byte, start uint64, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The command's name may contain anything; it ends at the last parenthesis.
	i := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[i+1:])
	if i < 0 || len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: unexpected format", pid)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}

// IsAlive says whether the process that had this pid and start time still runs. A zombie
// does not.
func IsAlive(pid int, start uint64) bool {
	if pid <= 0 {
		return false
	}
	now, err := StartTime(pid)
	return err == nil && (start == 0 || now == start)
}

// KillProcess sends a signal to the process with this pid and start time, and to no other
// one that got the pid later.
func KillProcess(pid int, start uint64, sig unix.Signal) error {
	if pid <= 1 {
		return unix.ESRCH
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ENOSYS {
		if !IsAlive(pid, start) {
			return unix.ESRCH
		}
		return unix.Kill(pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// The pidfd pins whoever has the pid now; only then is the start time conclusive.
	if !IsAlive(pid, start) {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
