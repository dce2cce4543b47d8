// Package specutils reads and checks OCI specifications and answers questions about them
// that more than one of runsc's processes asks.
//
// A specification is read once, by the client: ReadSpec takes config.json of a bundle,
// Decode turns bytes into a specs.Spec with errors that name line and column, Validate
// refuses what cannot work with one clear line, and Normalize makes paths absolute and
// applies what flags say (such as taking CAP_NET_RAW away). Boot and gofer get the
// normalized form through a descriptor and do not touch the bundle.
//
// The rest are small questions: which sandbox a container belongs to (pod annotations),
// what a capability's number is, which namespaces are asked for, whether a process is still
// the one that was started (a pid together with its start time).
package specutils

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ConfigName is the specification's name in a bundle.
const ConfigName = "config.json"

// maxSpecSize bounds config.json. Kubernetes' largest objects are 1.5 MiB.
const maxSpecSize = 16 << 20

// ReadSpec reads, checks and normalizes the specification of a bundle.
func ReadSpec(bundle string, netRaw bool) (*specs.Spec, error) {
	path := filepath.Join(bundle, ConfigName)
	data, err := readBounded(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("JSON specification file %s not found in bundle %s: no such file", ConfigName, bundle)
		}
		return nil, fmt.Errorf("reading specification: %w", err)
	}
	spec, err := Decode(ConfigName, data)
	if err != nil {
		return nil, err
	}
	if err := Validate(spec); err != nil {
		return nil, fmt.Errorf("%s: %w", ConfigName, err)
	}
	Normalize(spec, bundle, netRaw)
	return spec, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSpecSize+1))
	if err == nil && len(data) > maxSpecSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSpecSize)
	}
	return data, err
}

// Decode parses a specification; name is what errors call it.
func Decode(name string, data []byte) (*specs.Spec, error) {
	spec := new(specs.Spec)
	if err := DecodeJSON(name, data, spec); err != nil {
		return nil, err
	}
	return spec, nil
}

// DecodeJSON parses one JSON value into v. Errors are one line of the form
// "NAME:LINE:COLUMN: what is wrong".
func DecodeJSON(name string, data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		line, column := position(data, syntax.Offset)
		return fmt.Errorf("%s:%d:%d: broken JSON: %w", name, line, column, err)
	case errors.As(err, &typ):
		line, column := position(data, typ.Offset)
		what := typ.Field
		if what == "" {
			what = "value"
		}
		return fmt.Errorf("%s:%d:%d: %s is a JSON %s, want %v", name, line, column, what, typ.Value, typ.Type)
	}
	return fmt.Errorf("%s: %w", name, err)
}

// position turns the count of bytes read, as encoding/json reports it, into line and column
// (both from 1) of the last byte read.
func position(data []byte, offset int64) (line, column int) {
	n := int(min(max(offset-1, 0), int64(len(data))))
	before := data[:n]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, n - (bytes.LastIndexByte(before, '\n') + 1) + 1
}

// Validate refuses a specification that no container can be made of.
func Validate(spec *specs.Spec) error {
	if spec.Process == nil {
		return errors.New("process is missing")
	}
	if err := ValidateProcess(spec.Process); err != nil {
		return fmt.Errorf("process: %w", err)
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return errors.New("root.path is missing")
	}
	for i, m := range spec.Mounts {
		if m.Destination == "" {
			return fmt.Errorf("mounts[%d] has no destination", i)
		}
		if hasNUL(m.Destination, m.Source) || hasNUL(m.Options...) {
			return fmt.Errorf("mounts[%d] contains a NUL byte", i)
		}
		for _, o := range m.Options {
			if o == "shared" || o == "rshared" {
				return fmt.Errorf("mount %s: propagation %q is not supported: nothing mounted inside may appear outside", m.Destination, o)
			}
		}
	}
	if spec.Hostname != "" && len(spec.Hostname) > 64 {
		return errors.New("hostname is longer than 64 bytes")
	}
	if h := spec.Hooks; h != nil {
		for name, list := range map[string][]specs.Hook{
			"prestart": h.Prestart, "createRuntime": h.CreateRuntime, "createContainer": h.CreateContainer,
			"startContainer": h.StartContainer, "poststart": h.Poststart, "poststop": h.Poststop,
		} {
			for _, hook := range list {
				if !filepath.IsAbs(hook.Path) {
					return fmt.Errorf("hooks.%s: path %q is not absolute", name, hook.Path)
				}
			}
		}
	}
	if l := spec.Linux; l != nil {
		if l.RootfsPropagation == "shared" || l.RootfsPropagation == "rshared" {
			return fmt.Errorf("linux.rootfsPropagation %q is not supported: nothing mounted inside may appear outside", l.RootfsPropagation)
		}
		seen := map[specs.LinuxNamespaceType]bool{}
		for _, ns := range l.Namespaces {
			if seen[ns.Type] {
				return fmt.Errorf("linux.namespaces: %q is given twice", ns.Type)
			}
			seen[ns.Type] = true
			if ns.Path != "" && !filepath.IsAbs(ns.Path) {
				return fmt.Errorf("linux.namespaces: path %q is not absolute", ns.Path)
			}
		}
	}
	return nil
}

// ValidateProcess refuses a process that cannot be executed.
func ValidateProcess(p *specs.Process) error {
	if len(p.Args) == 0 {
		return errors.New("args must not be empty")
	}
	if p.Cwd == "" {
		return errors.New("cwd must not be empty")
	}
	if !filepath.IsAbs(p.Cwd) {
		return fmt.Errorf("cwd %q is not an absolute path", p.Cwd)
	}
	if hasNUL(p.Args...) || hasNUL(p.Env...) || hasNUL(p.Cwd) {
		return errors.New("args, env or cwd contain a NUL byte")
	}
	for _, rl := range p.Rlimits {
		if rl.Soft > rl.Hard {
			return fmt.Errorf("rlimit %s: soft limit %d is above the hard limit %d", rl.Type, rl.Soft, rl.Hard)
		}
	}
	if c := p.Capabilities; c != nil {
		for _, set := range [][]string{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient} {
			for _, name := range set {
				if _, err := CapabilityNumber(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func hasNUL(list ...string) bool {
	for _, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			return true
		}
	}
	return false
}

// Normalize makes the paths of a valid specification absolute and strips what the flags
// do not allow.
func Normalize(spec *specs.Spec, bundle string, netRaw bool) {
	spec.Root.Path = absFrom(bundle, spec.Root.Path)
	spec.Process.Cwd = filepath.Clean(spec.Process.Cwd)
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		m.Destination = filepath.Clean("/" + m.Destination)
		if IsBind(m) {
			m.Source = absFrom(bundle, m.Source)
			m.Type = "bind"
		}
	}
	if !netRaw && spec.Process.Capabilities != nil {
		DropCapability(spec.Process.Capabilities, "CAP_NET_RAW")
	}
}

func absFrom(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// IsBind says whether a mount shows a directory or file of the host.
func IsBind(m *specs.Mount) bool {
	if m.Type == "bind" {
		return true
	}
	for _, o := range m.Options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

// IsReadOnly says whether the options, of which the last one counts, make a mount
// read-only.
func IsReadOnly(options []string) bool {
	ro := false
	for _, o := range options {
		switch o {
		case "ro", "rro":
			ro = true
		case "rw":
			ro = false
		}
	}
	return ro
}

// Namespace returns the namespace of a kind that the specification asks for, if any.
func Namespace(spec *specs.Spec, kind specs.LinuxNamespaceType) (ns specs.LinuxNamespace, ok bool) {
	if spec.Linux == nil {
		return ns, false
	}
	for _, n := range spec.Linux.Namespaces {
		if n.Type == kind {
			return n, true
		}
	}
	return ns, false
}

// Annotations with which containerd and CRI-O say what role a container has in a pod.
const (
	annotationContainerType     = "io.kubernetes.cri.container-type"
	annotationSandboxID         = "io.kubernetes.cri.sandbox-id"
	annotationCRIOContainerType = "io.kubernetes.cri-o.ContainerType"
	annotationCRIOSandboxID     = "io.kubernetes.cri-o.SandboxID"
)

// SandboxID returns the id of the sandbox that container id runs in: its own, unless
// annotations say that it joins a pod's.
func SandboxID(spec *specs.Spec, id string) (sandboxID string, isRoot bool, err error) {
	for _, keys := range [][2]string{
		{annotationContainerType, annotationSandboxID},
		{annotationCRIOContainerType, annotationCRIOSandboxID},
	} {
		switch kind := spec.Annotations[keys[0]]; kind {
		case "":
			continue
		case "sandbox":
			return id, true, nil
		case "container":
			sid := spec.Annotations[keys[1]]
			if err := ValidateID(sid); err != nil {
				return "", false, fmt.Errorf("annotation %s: %w", keys[1], err)
			}
			return sid, false, nil
		default:
			return "", false, fmt.Errorf("annotation %s has the unknown value %q", keys[0], kind)
		}
	}
	return id, true, nil
}

var idPattern = regexp.MustCompile(`^[\w+\-.]+$`)

// ValidateID checks the form of a container id.
func ValidateID(id string) error {
	if len(id) > 1024 || id == "." || id == ".." || !idPattern.MatchString(id) {
		return fmt.Errorf("invalid container ID format: %q", id)
	}
	return nil
}
