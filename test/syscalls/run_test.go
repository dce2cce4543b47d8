package syscalls

import (
	"strings"
	"testing"

	"runsc/test/cases"
)

var suite = cases.Suite{
	Name:   "syscalls",
	OnDisk: func(program string) bool { return strings.HasPrefix(program, "file_") || program == "random_file" },
	Deviations: map[string]string{
		"rseq_cpu_is_right": "rseq(2) is ENOSYS by design: threads of one CPU number would run at the same time, so a restartable sequence would not exclude others",
	},
}

// TestNative checks the tests: every case must pass on Linux itself.
func TestNative(t *testing.T) { suite.TestNative(t) }

// TestSandbox runs the same cases inside.
func TestSandbox(t *testing.T) { suite.TestSandbox(t) }
