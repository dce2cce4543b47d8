// Package cgroup puts a sandbox's processes into control groups and sets their limits.
//
// A host has up to a dozen hierarchies of version 1, each with one or several controllers,
// or the one hierarchy of version 2, or both ("hybrid": version 2 mounted beside, usually
// without controllers). A Cgroup is a directory in each of them, computed by FromSpec from
// the specification before anything is changed, so that a state file that has it knows what
// to clean up. Install makes the directories and sets limits, Join moves this process in for
// as long as it takes to start children, Uninstall removes what Install made.
//
// A directory that existed before is somebody else's: it is joined, but neither configured
// nor removed.
//
// All paths hang below a host description (type host) that tests replace by a directory of
// ordinary files. A Cgroup is plain data without locks; a nil Cgroup is "no cgroup" and all
// its methods do nothing.
//
// Sources: Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst, the OCI runtime
// specification's config-linux.md.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
)

// Cgroup is a control group in every hierarchy of the host.
type Cgroup struct {
	// Path is what the specification says, or the container's id.
	Path string `json:"path"`
	// Optional says that nobody asked for a cgroup; failure to make it is no error.
	Optional bool  `json:"optional,omitempty"`
	Dirs     []Dir `json:"dirs"`
}

// Dir is a cgroup's directory in one hierarchy.
type Dir struct {
	Path string `json:"path"`
	// Controllers of the hierarchy: "cpu", "cpuacct", …; for version 2, all it has.
	Controllers []string `json:"controllers,omitempty"`
	V2          bool     `json:"v2,omitempty"`
	// Own are the directories that did not exist before us, outermost first. The cgroup is
	// ours if its own directory is among them.
	Own []string `json:"own,omitempty"`

	mount string // where the hierarchy is mounted; empty in a Cgroup read from disk
	self  string // the directory of this process
}

func (d *Dir) owned() bool { return len(d.Own) > 0 }

func (d *Dir) has(controller string) bool {
	for _, c := range d.Controllers {
		if c == controller {
			return true
		}
	}
	return false
}

// host is where to look for hierarchies.
type host struct {
	mountinfo, selfCgroup string
}

var realHost = host{"/proc/self/mountinfo", "/proc/self/cgroup"}

// FromSpec returns the cgroup of a container. It changes nothing on the host. Without any
// hierarchy on the host, the result is nil.
func FromSpec(spec *specs.Spec, id string, systemd bool) (*Cgroup, error) {
	return fromSpec(realHost, spec, id, systemd)
}

func fromSpec(h host, spec *specs.Spec, id string, systemd bool) (*Cgroup, error) {
	c := &Cgroup{}
	if spec.Linux != nil {
		c.Path = spec.Linux.CgroupsPath
	}
	switch {
	case systemd && c.Path != "":
		path, err := systemdPath(c.Path)
		if err != nil {
			return nil, err
		}
		c.Path = path
	case c.Path == "":
		c.Path, c.Optional = id, true
	}
	for _, part := range strings.Split(c.Path, "/") {
		if part == ".." {
			return nil, fmt.Errorf("cgroups path %q contains ..", c.Path)
		}
	}
	dirs, err := h.hierarchies()
	if err != nil {
		return nil, fmt.Errorf("looking for cgroups: %w", err)
	}
	if len(dirs) == 0 {
		return nil, nil
	}
	for i := range dirs {
		d := &dirs[i]
		base := d.self
		if filepath.IsAbs(c.Path) {
			base = d.mount
		}
		d.Path = filepath.Join(base, c.Path)
		for dir := d.Path; dir != d.mount && len(dir) > len(d.mount); dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); err == nil {
				break
			}
			d.Own = append([]string{dir}, d.Own...)
		}
	}
	c.Dirs = dirs
	return c, nil
}

// systemdPath turns slice:prefix:name into the path that systemd gives the scope.
func systemdPath(s string) (string, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 || parts[2] == "" {
		return "", fmt.Errorf("cgroups path %q is not of the form slice:prefix:name", s)
	}
	slice, name := parts[0], parts[2]
	if slice == "" {
		slice = "system.slice"
	}
	stem, ok := strings.CutSuffix(slice, ".slice")
	if !ok || stem == "" && slice != "-.slice" || strings.Contains(stem, "/") {
		return "", fmt.Errorf("invalid slice name %q", slice)
	}
	// a-b.slice lives in a.slice.
	path := "/"
	if stem != "-" {
		prefix := ""
		for _, part := range strings.Split(stem, "-") {
			if part == "" {
				return "", fmt.Errorf("invalid slice name %q", slice)
			}
			prefix += part
			path = filepath.Join(path, prefix+".slice")
			prefix += "-"
		}
	}
	if !strings.HasSuffix(name, ".slice") {
		if parts[1] != "" {
			name = parts[1] + "-" + name
		}
		name += ".scope"
	}
	return filepath.Join(path, name), nil
}

// hierarchies finds the mounted hierarchies and this process's place in each.
func (h host) hierarchies() ([]Dir, error) {
	own, err := h.ownPaths()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(h.mountinfo)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var dirs []Dir
	seen := make(map[string]bool)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		m, ok := parseMount(sc.Text())
		if !ok {
			continue
		}
		d := Dir{mount: m.point, V2: m.v2}
		key := ""
		if !m.v2 {
			d.Controllers = controllersOf(m.options, own)
			if len(d.Controllers) == 0 {
				continue
			}
			key = d.Controllers[0]
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		self, ok := own[key]
		if !ok {
			continue
		}
		// In a container without a cgroup namespace, the mount shows a part of the
		// hierarchy, while /proc/self/cgroup counts from its real root.
		if m.root != "/" {
			if rest, ok := strings.CutPrefix(self, m.root); ok {
				self = rest
			}
		}
		d.self = filepath.Join(m.point, self)
		if m.v2 {
			data, err := os.ReadFile(filepath.Join(m.point, "cgroup.controllers"))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			d.Controllers = strings.Fields(string(data))
		}
		dirs = append(dirs, d)
	}
	return dirs, sc.Err()
}

// ownPaths returns this process's cgroup by controller ("" for version 2); see cgroups(7).
func (h host) ownPaths() (map[string]string, error) {
	data, err := os.ReadFile(h.selfCgroup)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // a kernel without cgroups
		}
		return nil, err
	}
	own := make(map[string]string)
	for _, line := range strings.Split(string(data), "\n") {
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, c := range strings.Split(parts[1], ",") {
			own[c] = parts[2]
		}
	}
	return own, nil
}

type cgroupMount struct {
	root, point string
	v2          bool
	options     []string // of the superblock
}

// parseMount parses a line of mountinfo, see proc(5); ok is false if it is no cgroup's.
func parseMount(line string) (m cgroupMount, ok bool) {
	before, after, found := strings.Cut(line, " - ")
	pre, post := strings.Fields(before), strings.Fields(after)
	if !found || len(pre) < 6 || len(post) < 3 || post[0] != "cgroup" && post[0] != "cgroup2" {
		return m, false
	}
	return cgroupMount{
		root:    unescape(pre[3]),
		point:   unescape(pre[4]),
		v2:      post[0] == "cgroup2",
		options: strings.Split(post[2], ","),
	}, true
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// controllersOf picks the controllers out of mount options: those that /proc/self/cgroup
// knows, named hierarchies included.
func controllersOf(options []string, own map[string]string) []string {
	var list []string
	for _, o := range options {
		if _, ok := own[o]; ok && o != "" {
			list = append(list, o)
		}
	}
	return list
}

// Install makes the cgroup and sets its limits. If it fails, Uninstall removes what there is.
func (c *Cgroup) Install(res *specs.LinuxResources) error {
	if c == nil {
		return nil
	}
	var failed []Dir
	kept := c.Dirs[:0:0]
	for _, d := range c.Dirs {
		if err := d.install(); err != nil {
			// A hierarchy that nobody may write to, or one that is not needed.
			if !c.Optional && !d.V2 && d.needed(res) {
				return err
			}
			log.Debugf("cgroup %s: %v", d.Path, err)
			failed = append(failed, d)
			continue
		}
		kept = append(kept, d)
	}
	for i := range failed {
		failed[i].remove()
	}
	c.Dirs = kept
	if res == nil {
		return nil
	}
	return c.set(res, true)
}

func (d *Dir) needed(res *specs.LinuxResources) bool {
	for _, c := range d.Controllers {
		switch c {
		case "cpu", "memory", "pids":
			return true
		}
	}
	return false
}

// install makes the directory and its parents.
func (d *Dir) install() error {
	for _, dir := range d.Own {
		err := os.Mkdir(dir, 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if d.has("cpuset") && !d.V2 {
			if err := inheritCpuset(dir); err != nil {
				return err
			}
		}
	}
	if d.V2 && d.owned() && len(d.Controllers) > 0 {
		d.enableControllers()
	}
	return nil
}

// enableControllers hands the controllers down to the cgroup, as far as its parents allow.
func (d *Dir) enableControllers() {
	rel, err := filepath.Rel(d.mount, d.Path)
	if err != nil || d.mount == "" {
		return
	}
	dir := d.mount
	for _, part := range strings.Split(rel, "/") {
		for _, c := range d.Controllers {
			// One by one: a controller that cannot be had must not keep out the others.
			if err := write(dir, "cgroup.subtree_control", "+"+c); err != nil {
				log.Debugf("enabling %s in %s: %v", c, dir, err)
			}
		}
		dir = filepath.Join(dir, part)
	}
}

// inheritCpuset copies the parent's processors and memory nodes into a new cgroup of
// version 1, which starts out with none and takes no process before it has some.
func inheritCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		have, err := read(dir, name)
		if err != nil {
			return err
		}
		if have != "" {
			continue
		}
		parent, err := read(filepath.Dir(dir), name)
		if err != nil {
			return err
		}
		if err := write(dir, name, parent); err != nil {
			return err
		}
	}
	return nil
}

// OpenForClone returns a descriptor of the cgroup for clone3's CLONE_INTO_CGROUP, or -1 if
// the host's hierarchies cannot be joined that way, all at once.
func (c *Cgroup) OpenForClone() (int, error) {
	if c == nil || len(c.Dirs) != 1 || !c.Dirs[0].V2 {
		return -1, nil
	}
	fd, err := unix.Open(c.Dirs[0].Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: c.Dirs[0].Path, Err: err}
	}
	return fd, nil
}

// Join moves this process into the cgroup; the function it returns moves it back.
func (c *Cgroup) Join() (leave func() error, err error) {
	var joined []Dir
	leave = func() error {
		var first error
		for _, d := range joined {
			if err := write(d.self, "cgroup.procs", "0"); err != nil && first == nil {
				first = err
			}
		}
		return first
	}
	if c == nil {
		return leave, nil
	}
	for _, d := range c.Dirs {
		if d.self == "" || d.self == d.Path {
			continue
		}
		if err := write(d.Path, "cgroup.procs", "0"); err != nil {
			if c.Optional || d.V2 {
				log.Debugf("joining cgroup: %v", err)
				continue
			}
			leave()
			return nil, err
		}
		joined = append(joined, d)
	}
	return leave, nil
}

// removalTime bounds how long Uninstall waits for the last processes to disappear.
const removalTime = 5 * time.Second

// Uninstall removes the directories that Install made. Processes in the cgroup itself are
// killed: what is in there is ours, or was started by what was.
func (c *Cgroup) Uninstall() error {
	if c == nil {
		return nil
	}
	var first error
	for i := range c.Dirs {
		if err := c.Dirs[i].remove(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (d *Dir) remove() error {
	if !d.owned() {
		return nil
	}
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 500 * time.Microsecond
	b.MaxInterval = 50 * time.Millisecond
	b.MaxElapsedTime = removalTime
	err := backoff.Retry(func() error {
		err := unix.Rmdir(d.Path)
		switch err {
		case nil, unix.ENOENT:
			return nil
		case unix.EBUSY:
			killAll(d.Path)
			return err
		case unix.ENOTEMPTY:
			return err
		}
		return backoff.Permanent(err)
	}, b)
	if err != nil {
		return fmt.Errorf("removing cgroup %s: %w", d.Path, err)
	}
	// Parents go as long as nobody else has come to use them.
	for i := len(d.Own) - 2; i >= 0; i-- {
		if unix.Rmdir(d.Own[i]) != nil {
			break
		}
	}
	return nil
}

// killAll kills the processes of a cgroup of ours that keep it from being removed.
func killAll(dir string) {
	pids, err := read(dir, "cgroup.procs")
	if err != nil {
		return
	}
	for _, s := range strings.Fields(pids) {
		if pid, err := strconv.Atoi(s); err == nil && pid > 1 && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// dir returns the hierarchy that has a controller.
func (c *Cgroup) dir(controller string) *Dir {
	if c == nil {
		return nil
	}
	for i := range c.Dirs {
		if c.Dirs[i].has(controller) {
			return &c.Dirs[i]
		}
	}
	return nil
}

// read returns the content of a control file without the final newline.
func read(dir, name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(data)), err
}

// write writes a value to a control file that exists.
func write(dir, name, value string) error {
	path := filepath.Join(dir, name)
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("writing %q to %s: %w", value, path, err)
	}
	return nil
}
