package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/gofrs/flock"

	"runsc/runsc/config"
	"runsc/runsc/specutils"
)

// The state directory. A container's files are ROOT/ID_sandbox:SANDBOXID.state and the same
// with .lock. Ids contain no colon, so that the name can be taken apart again.

// ErrNotExist is the error for an id that no container has. Its words are what containerd
// and Docker look for.
var ErrNotExist = errors.New("container does not exist")

const separator = "_sandbox:"

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".tmp-"

// fullID names a container and the sandbox it is in.
type fullID struct {
	id, sandboxID string
}

func (f fullID) file(root, suffix string) string {
	return filepath.Join(root, f.id+separator+f.sandboxID+suffix)
}

// parseName is the inverse of file, for a name without directory.
func parseName(name string) (fullID, bool) {
	base, ok := strings.CutSuffix(name, ".state")
	if !ok {
		return fullID{}, false
	}
	i := strings.LastIndex(base, separator)
	if i <= 0 {
		return fullID{}, false
	}
	f := fullID{base[:i], base[i+len(separator):]}
	return f, specutils.ValidateID(f.id) == nil && specutils.ValidateID(f.sandboxID) == nil
}

// listIDs returns all containers that have state, in order of their ids.
func listIDs(root string) ([]fullID, error) {
	dir, err := os.Open(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []fullID
	for _, name := range names {
		if f, ok := parseName(name); ok {
			list = append(list, f)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list, nil
}

// findID returns the container that has this id, or else the only one whose id begins so.
func findID(root, prefix string) (fullID, error) {
	if err := specutils.ValidateID(prefix); err != nil {
		return fullID{}, err
	}
	// The usual case is a container alone in its sandbox, named in full.
	own := fullID{prefix, prefix}
	if _, err := os.Lstat(own.file(root, ".state")); err == nil {
		return own, nil
	}
	all, err := listIDs(root)
	if err != nil {
		return fullID{}, err
	}
	var matches []fullID
	for _, f := range all {
		if f.id == prefix {
			return f, nil
		}
		if strings.HasPrefix(f.id, prefix) {
			matches = append(matches, f)
		}
	}
	switch len(matches) {
	case 0:
		return fullID{}, fmt.Errorf("%w: %q", ErrNotExist, prefix)
	case 1:
		return matches[0], nil
	}
	return fullID{}, fmt.Errorf("container id %q is ambiguous: %d containers have ids that begin so", prefix, len(matches))
}

// lock takes a lock file and makes sure that it is still the one that the next process would
// take: whoever deletes a container removes its lock file.
func lock(path string) (*flock.Flock, error) {
	for {
		l := flock.New(path, flock.SetPermissions(0o600))
		if err := l.Lock(); err != nil {
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		mine, err := l.Stat()
		if err != nil {
			l.Unlock()
			return nil, err
		}
		if now, err := os.Stat(path); err == nil && os.SameFile(mine, now) {
			return l, nil
		}
		l.Unlock()
	}
}

// isLocked says whether some process holds the lock file now.
func isLocked(path string) bool {
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	ok, err := l.TryRLock()
	if ok {
		l.Unlock()
	}
	return err == nil && !ok
}

// WriteFile replaces a file so that a reader, or a machine that has lost power, sees the old
// content or the new one and nothing between.
func WriteFile(path string, data []byte, perm os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), tempPrefix+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(perm)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// save writes the container's state. The caller holds its lock.
func (c *Container) save() error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := WriteFile(c.fullID().file(c.root, ".state"), data, 0o600); err != nil {
		return fmt.Errorf("writing state of container %s: %w", c.ID, err)
	}
	return nil
}

// readState reads a container's state file. Since it is replaced as a whole, no lock is
// needed.
func readState(root string, f fullID) (*Container, error) {
	data, err := os.ReadFile(f.file(root, ".state"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrNotExist, f.id)
	}
	if err != nil {
		return nil, err
	}
	c := new(Container)
	if err := specutils.DecodeJSON("state of container "+f.id, data, c); err != nil {
		return nil, err
	}
	if c.fullID() != f {
		return nil, fmt.Errorf("state file of container %q is about %q", f.id, c.ID)
	}
	c.root = root
	return c, nil
}

// removeState removes all files of a container but the lock, which goes last, by unlock.
func (c *Container) removeState() error {
	f := c.fullID()
	// What a client that was killed while writing left behind.
	if entries, err := os.ReadDir(c.root); err == nil {
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), tempPrefix+f.id+separator+f.sandboxID+".state-") {
				os.Remove(filepath.Join(c.root, e.Name()))
			}
		}
	}
	if err := os.Remove(f.file(c.root, ".state")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(f.file(c.root, ".lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveUnborn removes what a client left that was killed before it had written the state of
// a container with that id: such a container does not exist, but its lock does. A client that
// is still at work is left alone.
func RemoveUnborn(conf *config.Config, id string) {
	root := conf.RootDir
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".lock")
		path := filepath.Join(root, e.Name())
		if !ok || !strings.HasPrefix(base, id+separator) || isLocked(path) {
			continue
		}
		l, err := lock(path)
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, base+".state")); errors.Is(err, fs.ErrNotExist) {
			for _, t := range entries {
				if strings.HasPrefix(t.Name(), tempPrefix+base+".state-") {
					os.Remove(filepath.Join(root, t.Name()))
				}
			}
			os.Remove(path)
		}
		l.Unlock()
	}
}
