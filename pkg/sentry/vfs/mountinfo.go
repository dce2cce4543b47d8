package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// The texts of /proc/PID/mounts and mountinfo (proc_pid_mounts(5), proc_pid_mountinfo(5)).

// optionsOf are a mount's own options as /proc shows them.
func optionsOf(f uint64) string {
	s := "rw"
	if f&unix.MS_RDONLY != 0 {
		s = "ro"
	}
	for _, o := range []struct {
		flag uint64
		name string
	}{
		{unix.MS_NOSUID, ",nosuid"}, {unix.MS_NODEV, ",nodev"}, {unix.MS_NOEXEC, ",noexec"},
		{unix.MS_NOATIME, ",noatime"}, {unix.MS_NODIRATIME, ",nodiratime"},
		{unix.MS_RELATIME, ",relatime"}, {unix.MS_NOSYMFOLLOW, ",nosymfollow"},
	} {
		if f&o.flag != 0 {
			s += o.name
		}
	}
	return s
}

func (m *Mount) sourceText() string {
	if m.source == "" {
		return "none"
	}
	return escapeMount(m.source)
}

var mountEscaper = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`)

func escapeMount(s string) string { return mountEscaper.Replace(s) }

// visible calls f with each mount below root and its mount point as seen from there.
func (ns *MountNamespace) visible(root Path, f func(m *Mount, point string)) {
	v := ns.vfs
	v.mountMu.RLock()
	defer v.mountMu.RUnlock()
	for _, m := range ns.mounts {
		if s, ok := v.pathName(root, Path{m, m.root}); ok {
			f(m, escapeMount(s))
		}
	}
}

// Mounts is the text of /proc/PID/mounts for a task whose root is root.
func (ns *MountNamespace) Mounts(root Path) string {
	var b strings.Builder
	ns.visible(root, func(m *Mount, point string) {
		fs := m.sb.fs
		opts := optionsOf(m.flags.Load())
		if m.sb.readOnly.Load() && strings.HasPrefix(opts, "rw") {
			opts = "ro" + opts[2:]
		}
		if o := fs.Options(); o != "" {
			opts += "," + o
		}
		b.WriteString(m.sourceText() + " " + point + " " + fs.TypeName() + " " + opts + " 0 0\n")
	})
	return b.String()
}

// MountInfo is the text of /proc/PID/mountinfo for a task whose root is root.
func (ns *MountNamespace) MountInfo(root Path) string {
	var b strings.Builder
	ns.visible(root, func(m *Mount, point string) {
		fs := m.sb.fs
		parent := m.id
		if at := m.at.Load(); at != nil {
			parent = at.parent.id
		}
		dev := fs.Dev()
		b.WriteString(utoa(uint64(m.id)) + " " + utoa(uint64(parent)) + " " +
			utoa(uint64(unix.Major(dev))) + ":" + utoa(uint64(unix.Minor(dev))) + " " +
			escapeMount(m.root.nameInFS()) + " " + point + " " + optionsOf(m.flags.Load()))
		if m.group != 0 {
			b.WriteString(" shared:" + utoa(uint64(m.group)))
		}
		if m.master != 0 {
			b.WriteString(" master:" + utoa(uint64(m.master)))
		}
		if m.propagation == unix.MS_UNBINDABLE {
			b.WriteString(" unbindable")
		}
		super := "rw"
		if m.sb.readOnly.Load() {
			super = "ro"
		}
		if o := fs.Options(); o != "" {
			super += "," + o
		}
		b.WriteString(" - " + fs.TypeName() + " " + m.sourceText() + " " + super + "\n")
	})
	return b.String()
}
