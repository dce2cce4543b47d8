package fsgofer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// childEnv tells the test program to be a gofer: it holds a Config as JSON, or the name of a
// forbidden deed.
const childEnv = "FSGOFER_TEST_CHILD"

// child is the gofer's process.
func child() {
	var cfg Config
	deed := os.Getenv(childEnv)
	if strings.HasPrefix(deed, "{") {
		if err := json.Unmarshal([]byte(deed), &cfg); err != nil {
			panic(err)
		}
	} else {
		cfg.Root = "/"
	}
	sock := os.NewFile(3, "socket")
	if err := cfg.Prepare(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	err := InstallFilter(FilterOptions{
		ProcFD:       cfg.ProcFD,
		Connect:      cfg.HostUDS == UDSOpen || cfg.HostUDS == UDSAll,
		AllowDevices: cfg.AllowDevices,
	})
	if err != nil {
		fmt.Println("filter:", err)
		os.Exit(1)
	}
	switch deed {
	case "open":
		os.ReadFile("/etc/passwd")
	case "link":
		unix.Openat(int(cfg.RootFD.Fd()), "etc", unix.O_RDONLY, 0)
	case "socket":
		unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	case "exec":
		unix.Exec("/bin/true", nil, nil)
	case "device":
		unix.Mknodat(int(cfg.RootFD.Fd()), "x", unix.S_IFCHR, 0)
	case "ptrace":
		unix.PtraceAttach(1)
	default:
		if err := Serve(sock, cfg); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	fmt.Println("it did", deed)
	os.Exit(0)
}

func command(env string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+env, "GOTRACEBACK=single")
	return cmd
}

// startProcess runs Serve in a process of its own, with the filter.
func startProcess(t testing.TB, server *os.File, cfg Config) <-chan error {
	arg, err := json.Marshal(cfg)
	must(t, err)
	cmd := command(string(arg))
	cmd.ExtraFiles = []*os.File{server}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	server.Close()
	done := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s%s", err, seccomp.Describe(out.Bytes()), out.Bytes())
		}
		done <- err
	}()
	return done
}

// Everything that the other tests make a gofer do works with the filter on.
func TestUnderFilter(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's run-time makes system calls of its own")
	}
	old := start
	defer func() { start = old }()
	start = startProcess
	for name, test := range map[string]func(*testing.T){
		"creation": TestCreationSetsOwnerAndMode, "symlinks": TestNothingLeadsOut,
		"readonly": TestReadOnlyTreeRefusesChanges, "special": TestSpecialFilesAreNotOpened,
		"sockets": TestHostSockets, "file": TestSingleFileRoot, "readdir": TestReadDirCookiesAreStable,
		"xattrs": TestXattrs, "rename": TestRenameAndLinks, "setattr": TestSetAttr, "race": TestRenameRacesWithWalk,
		"sentry io": TestSentryReadsAndWrites, "sentry names": TestSentryNamesAndAttributes, "sentry tasks": TestManyTasksUseOneTree,
	} {
		t.Run(name, test)
	}
}

func TestFilterEndsTheProcess(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's run-time makes system calls of its own")
	}
	for _, deed := range []string{"open", "link", "socket", "exec", "device", "ptrace"} {
		out, err := command(deed).CombinedOutput()
		if err == nil || bytes.Contains(out, []byte("it did")) || bytes.Contains(out, []byte("filter: ")) && !bytes.Contains(out, []byte("SIGSYS")) {
			t.Errorf("%s: %v %s", deed, err, out)
		}
	}
}
