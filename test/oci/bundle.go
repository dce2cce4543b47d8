package oci

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A Bundle is a directory with config.json; its rootfs may be elsewhere.
type Bundle struct {
	Dir    string
	Rootfs string
}

// NewBundle writes a bundle for a root filesystem.
func NewBundle(t testing.TB, rootfs string, spec *specs.Spec) *Bundle {
	t.Helper()
	b := &Bundle{Dir: ShortDir(t), Rootfs: rootfs}
	spec.Root.Path = rootfs
	b.Write(t, spec)
	return b
}

// Write replaces the bundle's config.json.
func (b *Bundle) Write(t testing.TB, spec *specs.Spec) {
	t.Helper()
	if err := WriteConfig(b.Dir, spec); err != nil {
		t.Fatal(err)
	}
}

// WriteConfig makes a directory a bundle.
func WriteConfig(dir string, spec *specs.Spec) error {
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644)
}

// Spec is a root container with every capability this process has, all the usual mounts, a
// tmpfs on /tmp, and namespaces of its own.
func Spec(args ...string) *specs.Spec {
	caps := Capabilities()
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: "testhost",
		Root:     &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Args: args,
			Cwd:  "/",
			Env:  []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=xterm", "LC_ALL=C"},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Inheritable: caps, Permitted: caps,
			},
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 4096}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace},
			},
		},
	}
}

// AddMount puts a mount at the end of the list.
func AddMount(s *specs.Spec, typ, source, dest string, options ...string) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: dest, Type: typ, Source: source, Options: options})
}

// AddBinds adds read-only binds, given as pairs "host path:path inside".
func AddBinds(s *specs.Spec, binds ...string) {
	for _, b := range binds {
		from, to, _ := strings.Cut(b, ":")
		AddMount(s, "bind", from, to, "rbind", "ro")
	}
}

// capNames are the capabilities by number; see capabilities(7).
var capNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID
	SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER
	SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN
	SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ`)

// Capabilities lists what this process may give to a container, so that the native run
// and the one inside start from the same powers.
func Capabilities() []string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	var mask uint64
	for _, l := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(l, "CapEff:"); ok {
			fmt.Sscanf(strings.TrimSpace(rest), "%x", &mask)
		}
	}
	var caps []string
	for i, n := range capNames {
		if mask&(1<<i) != 0 {
			caps = append(caps, "CAP_"+n)
		}
	}
	return caps
}

// BusyboxRootfs makes a root filesystem of busybox-static in dir.
func BusyboxRootfs(t testing.TB, dir string) string {
	t.Helper()
	for _, d := range []string{"bin", "sbin", "usr/bin", "usr/sbin", "etc", "proc", "sys", "dev", "tmp", "root", "var/tmp", "mnt", "home/user"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	src := ""
	for _, p := range []string{"/usr/bin/busybox", "/bin/busybox"} {
		if _, err := os.Stat(p); err == nil {
			src = p
			break
		}
	}
	if src == "" {
		t.Fatal("no busybox on this machine (Debian's busybox-static)")
	}
	if err := CopyFile(src, filepath.Join(dir, "bin/busybox"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range strings.Fields(`[ [[ ar ash awk base64 basename bunzip2 bzcat bzip2 cal cat chgrp chmod chown chroot cksum clear cmp comm cp cpio cut date dc dd df diff dirname dmesg du echo ed egrep env expand expr factor fallocate false fgrep find flock fold free getopt grep groups gunzip gzip head hexdump hostid hostname id install kill killall link ln logname ls lzcat lzma md5sum mkdir mkfifo mknod mktemp more mount mv nice nl nohup nproc nsenter od paste patch pidof ping pivot_root printenv printf ps pwd readlink realpath renice reset rev rm rmdir sed seq setsid sh sha1sum sha256sum sha512sum shred shuf sleep sort split stat strings stty su sum sync tac tail tar tee test time timeout touch tr true truncate tsort tty ttysize umount uname uncompress unexpand uniq unlink unlzma unshare unxz unzip uptime usleep uudecode uuencode vi wc which who whoami xargs xxd xz xzcat yes zcat top trap watch rx`) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/group":  "root:x:0:\nuser:x:1000:\nextra:x:2000:user\nnogroup:x:65534:\n",
		"etc/hosts":  "127.0.0.1 localhost\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(dir, d), os.ModeSticky|0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// CopyFile copies a regular file.
func CopyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
