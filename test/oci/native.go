package oci

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Native prepares a command in namespaces of its own (mount, pid, ipc, uts, network) on
// the host's kernel, with a /proc that fits: the oracle that a sandbox is compared with.
// Everything that it started, and every mount, is gone when it ends.
func Native(args ...string) *exec.Cmd { return NativeIn(nil, args...) }

// NativeIn is Native in a network namespace, or one of its own if n is nil.
func NativeIn(n *Netns, args ...string) *exec.Cmd {
	unshare := []string{"unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"}
	var cmd *exec.Cmd
	if n != nil {
		cmd = n.Command(append(unshare, args...)...)
	} else {
		cmd = exec.Command(unshare[0], append(append(unshare[1:], "--net"), args...)...)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// NativeChroot is NativeIn in a root filesystem, with the mounts that a container has. binds
// are pairs "host path:path inside".
func NativeChroot(n *Netns, rootfs string, env []string, binds []string, args ...string) *exec.Cmd {
	var s strings.Builder
	s.WriteString(`set -e
R=$1; shift
mount --bind "$R" "$R"
mount -t proc proc "$R/proc"
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for d in null zero full random urandom tty; do : >"$R/dev/$d"; mount --bind "/dev/$d" "$R/dev/$d"; done
mkdir "$R/dev/pts" "$R/dev/shm" "$R/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$R/dev/pts"
ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
ln -s /proc/self/fd/0 "$R/dev/stdin"; ln -s /proc/self/fd/1 "$R/dev/stdout"; ln -s /proc/self/fd/2 "$R/dev/stderr"
mount -t tmpfs -o mode=1777 shm "$R/dev/shm"
mount -t mqueue mqueue "$R/dev/mqueue"
mount -t sysfs -o ro sysfs "$R/sys" 2>/dev/null || :
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
hostname testhost
ip link set lo up 2>/dev/null || :
while [ "$1" != -- ]; do
	mkdir -p "$R/${1#*:}"; mount --rbind "${1%%:*}" "$R/${1#*:}"; shift
done; shift
cd "$R"
exec chroot "$R" "$@"
`)
	argv := []string{"/bin/sh", "-c", s.String(), "native", rootfs}
	argv = append(argv, binds...)
	argv = append(argv, "--")
	cmd := NativeIn(n, append(argv, args...)...)
	cmd.Env = append([]string{}, env...)
	if len(env) == 0 {
		cmd.Env = os.Environ()
	}
	return cmd
}
