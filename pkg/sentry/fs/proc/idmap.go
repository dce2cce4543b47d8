package proc

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

func writeIDMap(ctx context.Context, f *taskFile, b *bytes.Buffer) error {
	ns := f.t.UserNamespace()
	m := ns.UIDMap(viewer(ctx))
	if f.name == "gid_map" {
		m = ns.GIDMap(viewer(ctx))
	}
	for _, e := range m {
		fmt.Fprintf(b, "%10d %10d %10d\n", e.First, e.FirstParent, e.Length)
	}
	return nil
}

// parseIDMap reads lines of three numbers.
func parseIDMap(value []byte) ([]auth.IDMapEntry, error) {
	var out []auth.IDMapEntry
	for line := range strings.Lines(string(value)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var n [3]uint32
		if len(fields) != 3 {
			return nil, unix.EINVAL
		}
		for i, s := range fields {
			if _, err := fmt.Sscanf(s, "%d", &n[i]); err != nil || fmt.Sprint(n[i]) != s {
				return nil, unix.EINVAL
			}
		}
		out = append(out, auth.IDMapEntry{First: n[0], FirstParent: n[1], Length: n[2]})
	}
	return out, nil
}

// setIDMap is user_namespaces(7), "Defining user and group ID mappings: writing to uid_map
// and gid_map".
func setIDMap(ctx context.Context, f *taskFile, value []byte, offset int64) error {
	if offset != 0 || len(value) >= 4096 {
		return unix.EINVAL
	}
	m, err := parseIDMap(value)
	if err != nil {
		return err
	}
	ns, c := f.t.UserNamespace(), ctx.Credentials()
	parent := ns.Parent()
	if parent == nil || c.UserNS != ns && c.UserNS != parent {
		return unix.EPERM
	}
	group := f.name == "gid_map"
	capability := unix.CAP_SETUID
	if group {
		capability = unix.CAP_SETGID
	}
	if !c.HasCapabilityIn(unix.CAP_SYS_ADMIN, ns) {
		return unix.EPERM
	}
	if !c.HasCapabilityIn(capability, parent) {
		// Without privilege one may map oneself only.
		if len(m) != 1 || m[0].Length != 1 {
			return unix.EPERM
		}
		if group {
			if parent.KGID(m[0].FirstParent) != c.EffectiveGID || !ns.SetgroupsDenied() {
				return unix.EPERM
			}
		} else if parent.KUID(m[0].FirstParent) != c.EffectiveUID || ns.Owner() != c.EffectiveUID {
			return unix.EPERM
		}
	}
	if group {
		return ns.SetGIDMap(m)
	}
	return ns.SetUIDMap(m)
}

func writeSetgroups(_ context.Context, f *taskFile, b *bytes.Buffer) error {
	if f.t.UserNamespace().SetgroupsDenied() {
		b.WriteString("deny\n")
	} else {
		b.WriteString("allow\n")
	}
	return nil
}

func setSetgroups(ctx context.Context, f *taskFile, value []byte, _ int64) error {
	ns := f.t.UserNamespace()
	if !ctx.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, ns) {
		return unix.EPERM
	}
	switch strings.TrimRight(string(value), "\n\x00") {
	case "allow":
		if ns.SetgroupsDenied() {
			return unix.EPERM
		}
		return nil
	case "deny":
		return ns.DenySetgroups()
	}
	return unix.EINVAL
}
