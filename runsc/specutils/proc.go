package specutils

import (
	"bytes"
	"fmt"
	"os"
	"sort"
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

// PIDsInNamespaceOf returns the pids, as this process sees them, of the processes that are in
// the pid namespace of the process leader, and have there one of the given pids.
func PIDsInNamespaceOf(leader int, inside map[int]bool) []int {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", leader))
	if err != nil {
		return nil
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if theirs, err := os.Readlink("/proc/" + name + "/ns/pid"); err != nil || theirs != ns {
			continue
		}
		status, err := os.ReadFile("/proc/" + name + "/status")
		if err != nil {
			continue
		}
		// NSpid lists the pids from our namespace inwards.
		_, rest, ok := bytes.Cut(status, []byte("\nNSpid:"))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		if f := bytes.Fields(line); ok && len(f) > 0 {
			if n, err := strconv.Atoi(string(f[len(f)-1])); err == nil && inside[n] {
				pids = append(pids, pid)
			}
		}
	}
	sort.Ints(pids)
	return pids
}
