package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/config"
	"runsc/runsc/sandbox"
)

func testConf(t *testing.T) *config.Config {
	t.Helper()
	conf := config.Default()
	conf.RootDir = filepath.Join(t.TempDir(), "with [odd] *name")
	return conf
}

func testContainer(conf *config.Config, id, sandboxID string) *Container {
	return &Container{ID: id, SandboxID: sandboxID, Spec: &specs.Spec{Root: &specs.Root{}}, Status: Creating, root: conf.RootDir}
}

func TestReserveFindAndRemove(t *testing.T) {
	conf := testConf(t)
	for _, id := range []string{"abc", "abd", "ab", "x_sandbox", "other"} {
		sid := id
		if id == "other" {
			sid = "abc"
		}
		c := testContainer(conf, id, sid)
		if err := c.reserve(); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(conf, id); err != nil || got.Status != Creating {
			t.Errorf("%s while its maker lives: %+v, %v", id, got, err)
		}
		c.release()
	}
	for prefix, want := range map[string]string{"abc": "abc", "ab": "ab", "abd": "abd", "x": "x_sandbox", "oth": "other"} {
		if c, err := Load(conf, prefix); err != nil || c.ID != want || c.Status != Stopped {
			t.Errorf("%q: %+v, %v", prefix, c, err)
		}
	}
	if _, err := Load(conf, "a"); err == nil || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("ambiguous prefix: %v", err)
	}
	if _, err := Load(conf, "zzz"); !errors.Is(err, ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := testContainer(conf, "other", "elsewhere").reserve(); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("taken id in another sandbox: %v", err)
	}
	list, err := List(conf)
	if err != nil || len(list) != 5 || list[0].ID != "ab" {
		t.Errorf("list: %v, %v", list, err)
	}
	os.WriteFile(filepath.Join(conf.RootDir, tempPrefix+"abc_sandbox:abc.state-77"), nil, 0o600)
	for _, c := range list {
		if err := c.Destroy(false); err != nil {
			t.Error(err)
		}
	}
	entries, _ := os.ReadDir(conf.RootDir)
	if len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestDeadSandboxMeansStopped(t *testing.T) {
	conf := testConf(t)
	c := testContainer(conf, "x", "x")
	if err := c.reserve(); err != nil {
		t.Fatal(err)
	}
	// Our own pid, but started at another time: somebody else got the number.
	c.Status, c.Sandbox = Running, &sandbox.Sandbox{ID: "x", PID: os.Getpid(), StartTime: 1}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	c.release()
	got, err := Load(conf, "x")
	if err != nil || got.Status != Stopped || got.PID() != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if err := got.Destroy(false); err != nil {
		t.Errorf("deleting it, and not killing ourselves: %v", err)
	}
}

func TestBrokenStateIsReported(t *testing.T) {
	conf := testConf(t)
	c := testContainer(conf, "x", "x")
	if err := c.reserve(); err != nil {
		t.Fatal(err)
	}
	c.release()
	path := c.fullID().file(conf.RootDir, ".state")
	for _, content := range []string{"", "{", `{"id":"y","sandboxID":"x"}`} {
		os.WriteFile(path, []byte(content), 0o600)
		if _, err := Load(conf, "x"); err == nil {
			t.Errorf("%q: no error", content)
		}
		if list, err := List(conf); err != nil || len(list) != 0 {
			t.Errorf("%q: list: %v, %v", content, list, err)
		}
	}
}

func TestParseName(t *testing.T) {
	for name, want := range map[string]fullID{
		"a_sandbox:b.state":         {"a", "b"},
		"a_sandbox_sandbox:b.state": {"a_sandbox", "b"},
		"_sandbox:b.state":          {},
		"a_sandbox:b.lock":          {},
		"a.state":                   {},
		"a_sandbox:.state":          {},
	} {
		got, ok := parseName(name)
		if ok != (want != fullID{}) || ok && got != want {
			t.Errorf("%q: %v, %v", name, got, ok)
		}
	}
}

func TestLockSurvivesRemoval(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	var mu sync.Mutex
	inside, most, rounds := 0, 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				l, err := lock(path)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				rounds++
				most = max(most, inside)
				mu.Unlock()
				mu.Lock()
				inside--
				mu.Unlock()
				os.Remove(path) // as whoever deletes the container does
				l.Unlock()
			}
		}()
	}
	wg.Wait()
	if most != 1 || rounds != 400 {
		t.Errorf("%d holders at once, %d rounds", most, rounds)
	}
}

func TestWriteFileIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := WriteFile(path, []byte(strings.Repeat(fmt.Sprint(i%10), 10000)), 0o600); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 200 {
		data, err := os.ReadFile(path)
		if err != nil || len(data) != 3 && len(data) != 10000 {
			t.Fatalf("read %d bytes, %v", len(data), err)
		}
	}
	close(stop)
	wg.Wait()
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil, 0o600); err == nil {
		t.Error("no error in a directory that does not exist")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("temporary files are left: %v", entries)
	}
}
func TestRemoveUnborn(t *testing.T) {
	root := t.TempDir()
	for _, n := range []string{"a" + separator + "a.lock", tempPrefix + "a" + separator + "a.state-1", "b" + separator + "b.lock", "c" + separator + "c.lock", "c" + separator + "c.state"} {
		if err := os.WriteFile(filepath.Join(root, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "c", "nobody"} {
		RemoveUnborn(&config.Config{RootDir: root}, id)
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 3 {
		t.Errorf("left: %v, %v; want b's lock and c's files", entries, err)
	}
}
