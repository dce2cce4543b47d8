package config

import (
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
)

func parse(args ...string) (*Config, error) {
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var c Config
	c.Register(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	return &c, c.Finish()
}

func TestFlagsTravelToChildren(t *testing.T) {
	c, err := parse("-root", "/x/../y", "--debug", "--network=none", "--overlay2", "root:dir=/a/b/", "--strace-log-size=7",
		"--panic-signal", "12", "--watchdog-action=LogWarning", "--gso=false", "--file-access-mounts=exclusive", "--log=/l", "--log-fd=9")
	if err != nil {
		t.Fatal(err)
	}
	args := c.ToFlags()
	child, err := parse(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	c.LogFile, c.LogFD = "", -1 // not for children
	if !reflect.DeepEqual(c, child) {
		t.Errorf("child has %+v, want %+v", child, c)
	}
	if child.RootDir != "/y" || child.WatchdogAction != WatchdogLog || child.Overlay2.String() != "root:dir=/a/b" {
		t.Errorf("got %+v", child)
	}
}

func TestDefaultsMakeNoArguments(t *testing.T) {
	c := Default()
	for _, a := range c.ToFlags() {
		if !strings.HasPrefix(a, "--root=") {
			t.Errorf("default is passed on: %s", a)
		}
	}
}

func TestEveryFieldIsAFlagWithHelp(t *testing.T) {
	seen := map[string]bool{}
	typ := reflect.TypeFor[Config]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		name := f.Tag.Get("flag")
		_, hasDefault := f.Tag.Lookup("default")
		if name == "" || f.Tag.Get("help") == "" || !hasDefault || seen[name] {
			t.Errorf("field %s: tag %q", f.Name, f.Tag)
		}
		seen[name] = true
	}
}

func TestRootFromEnvironment(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/5")
	if c, err := parse(); err != nil || c.RootDir != "/run/user/5/runsc" {
		t.Errorf("%+v, %v", c, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "")
	if c, err := parse(); err != nil || c.RootDir != "/var/run/runsc" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--network=wifi"},
		{"--overlay2=all:self"},
		{"--overlay2=root:dir=relative"},
		{"--overlay2=root"},
		{"--overlay", "--overlay2=root:self"},
		{"--overlay2=root:memory", "--file-access=shared"},
		{"--log-format=xml"},
		{"--debug-log-format=xml"},
		{"--watchdog-action=bark"},
		{"--panic-signal=65"},
		{"--host-uds=some"},
		{"--platform=xen"},
		{"--strace-log-size=-1"},
	} {
		if c, err := parse(args...); err == nil {
			t.Errorf("%v accepted: %+v", args, c)
		}
	}
	if c, err := parse("--overlay"); err != nil || c.Overlay2.String() != "all:memory" {
		t.Errorf("--overlay: %+v, %v", c, err)
	}
}
