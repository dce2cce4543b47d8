// Package config holds runsc's global flags.
//
// Each flag is defined once, as a field of Config with its name, default and help text in
// the field's tag. Register makes the flags of a flag.FlagSet from the fields, FromFlags
// reads and checks what was given, and ToFlags turns a Config back into the arguments that
// give a re-executed child (boot, gofer) the same configuration. Only what differs from the
// default is passed on, so that argument lists stay short and ps stays readable.
//
// A field may be a string, a bool, an int, or one of this package's enumerations, which
// check themselves while flags are parsed. Rules that concern several flags at once are in
// validate. Fields tagged local:"true" mean something to the client only and are not
// passed on.
package config

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// Config is the configuration of one runsc process.
type Config struct {
	RootDir string `flag:"root" default:"" help:"directory for the state of containers"`

	// Logging. Paths are opened by the client; boot and gofer get descriptors.
	LogFile        string `flag:"log" default:"" local:"true" help:"file for errors and messages, appended to (default stderr)"`
	LogFormat      string `flag:"log-format" default:"text" help:"format of the log: text, json or json-k8s"`
	LogFD          int    `flag:"log-fd" default:"-1" local:"true" help:"descriptor to log to instead of --log (internal)"`
	Debug          bool   `flag:"debug" default:"false" help:"log at debug level"`
	DebugLog       string `flag:"debug-log" default:"" local:"true" help:"additional log with everything; a path that ends in / is a directory; %ID%, %TIMESTAMP% and %COMMAND% are replaced"`
	DebugLogFormat string `flag:"debug-log-format" default:"text" help:"format of the debug log: text, json or json-k8s"`
	DebugLogFD     int    `flag:"debug-log-fd" default:"-1" local:"true" help:"descriptor to log to instead of --debug-log (internal)"`

	// Platform.
	Platform string `flag:"platform" default:"" help:"how application code runs: systrap, ptrace or kvm (default: systrap)"`

	// SystrapPatch is auto or off.
	SystrapPatch string `flag:"systrap-patch" default:"auto" help:"auto lets the systrap platform change hot system call sites in program text, off does not"`

	// Network.
	Network           Network `flag:"network" default:"sandbox" help:"sandbox (own network stack), host, or none (loopback only)"`
	NetRaw            bool    `flag:"net-raw" default:"false" help:"let containers keep CAP_NET_RAW"`
	GSO               bool    `flag:"gso" default:"true" help:"let the host's kernel segment large TCP packets"`
	GRO               bool    `flag:"gro" default:"true" help:"join received TCP segments before they are processed"`
	RXChecksumOffload bool    `flag:"rx-checksum-offload" default:"true" help:"trust checksums that the host has checked"`
	TXChecksumOffload bool    `flag:"tx-checksum-offload" default:"true" help:"let the host compute checksums, which --gso needs"`
	LogPackets        bool    `flag:"log-packets" default:"false" help:"log every packet"`
	PCAPLog           string  `flag:"pcap-log" default:"" help:"write all packets to a pcap file"`

	// Files.
	FileAccess       FileAccess `flag:"file-access" default:"exclusive" help:"root filesystem: exclusive (nobody else changes it) or shared"`
	FileAccessMounts FileAccess `flag:"file-access-mounts" default:"shared" help:"bind mounts: exclusive or shared"`
	Overlay          bool       `flag:"overlay" default:"false" help:"old spelling of --overlay2=all:memory"`
	Overlay2         Overlay2   `flag:"overlay2" default:"none" help:"writable overlay inside the sandbox: none, root:memory, all:memory, root:self, root:dir=/path"`
	DirectFS         bool       `flag:"directfs" default:"false" help:"let the sandbox open files itself, below descriptors given by the gofer"`
	HostUDS          string     `flag:"host-uds" default:"none" help:"unix sockets of the host: none, open, create or all"`

	// What is said about the application.
	Strace         bool   `flag:"strace" default:"false" help:"log the application's system calls"`
	StraceSyscalls string `flag:"strace-syscalls" default:"" help:"comma-separated system calls to log (default all)"`
	StraceLogSize  uint   `flag:"strace-log-size" default:"1024" help:"bytes of data shown per argument"`

	WatchdogAction WatchdogAction `flag:"watchdog-action" default:"log" help:"when a task is stuck in the sandbox's kernel: log or panic"`
	PanicSignal    int            `flag:"panic-signal" default:"-1" help:"signal that makes the sandbox panic with all stacks"`
	Profile        bool           `flag:"profile" default:"false" help:"allow profiling of the sandbox; loosens its system call filter"`

	// The host.
	IgnoreCgroups bool `flag:"ignore-cgroups" default:"false" help:"do not touch cgroups"`
	SystemdCgroup bool `flag:"systemd-cgroup" default:"false" help:"cgroup paths are slice:prefix:name"`
	Rootless      bool `flag:"rootless" default:"false" help:"run as an ordinary user in a user namespace"`

	TestOnlyNonRoot bool `flag:"TESTONLY-unsafe-nonroot" default:"false" help:"tests only: no chroot, no change of user"`
}

// Network says where the application's sockets live.
type Network string

// Networks.
const (
	NetworkSandbox Network = "sandbox"
	NetworkHost    Network = "host"
	NetworkNone    Network = "none"
)

// FileAccess says whether files can change behind the sandbox's back.
type FileAccess string

// File access modes.
const (
	FileAccessExclusive FileAccess = "exclusive"
	FileAccessShared    FileAccess = "shared"
)

// WatchdogAction says what happens when a task is stuck.
type WatchdogAction string

// Watchdog actions.
const (
	WatchdogLog   WatchdogAction = "log"
	WatchdogPanic WatchdogAction = "panic"
)

// Overlay2 is a parsed --overlay2.
type Overlay2 struct {
	Root   bool   // the root mount gets an overlay
	Mounts bool   // bind mounts get one, too
	Medium string // "memory", "self" or "dir=/path"; empty without overlay
}

// Set implements flag.Value.
func (n *Network) Set(v string) error {
	return setEnum(n, v, NetworkSandbox, NetworkHost, NetworkNone)
}

// Set implements flag.Value.
func (f *FileAccess) Set(v string) error {
	return setEnum(f, v, FileAccessExclusive, FileAccessShared)
}

// Set implements flag.Value.
func (w *WatchdogAction) Set(v string) error {
	if strings.EqualFold(v, "logwarning") {
		v = string(WatchdogLog)
	}
	return setEnum(w, WatchdogAction(strings.ToLower(v)), WatchdogLog, WatchdogPanic)
}

// Set implements flag.Value.
func (o *Overlay2) Set(v string) error {
	if v == "none" {
		*o = Overlay2{}
		return nil
	}
	scope, medium, _ := strings.Cut(v, ":")
	switch {
	case scope != "root" && scope != "all":
	case medium == "memory", medium == "self" && scope == "root":
		*o = Overlay2{Root: true, Mounts: scope == "all", Medium: medium}
		return nil
	case strings.HasPrefix(medium, "dir=/") && scope == "root":
		*o = Overlay2{Root: true, Medium: "dir=" + filepath.Clean(medium[len("dir="):])}
		return nil
	}
	return fmt.Errorf("want none, root:memory, all:memory, root:self or root:dir=/path")
}

// String implements flag.Value.
func (n *Network) String() string { return string(*n) }

// String implements flag.Value.
func (f *FileAccess) String() string { return string(*f) }

// String implements flag.Value.
func (w *WatchdogAction) String() string { return string(*w) }

// String implements flag.Value.
func (o *Overlay2) String() string {
	switch {
	case !o.Root:
		return "none"
	case o.Mounts:
		return "all:" + o.Medium
	}
	return "root:" + o.Medium
}

func setEnum[T ~string, V ~string](p *T, v V, allowed ...T) error {
	var names []string
	for _, a := range allowed {
		if string(a) == string(v) {
			*p = a
			return nil
		}
		names = append(names, string(a))
	}
	return fmt.Errorf("want one of %s", strings.Join(names, ", "))
}

// Register defines every global flag in fs, storing what is parsed in c.
func (c *Config) Register(fs *flag.FlagSet) {
	c.each(func(f reflect.StructField, v reflect.Value) {
		name, def, help := f.Tag.Get("flag"), f.Tag.Get("default"), f.Tag.Get("help")
		switch p := v.Addr().Interface().(type) {
		case *string:
			fs.StringVar(p, name, def, help)
		case *bool:
			fs.BoolVar(p, name, def == "true", help)
		case *int:
			n, err := strconv.Atoi(def)
			if err != nil {
				panic(name + ": " + err.Error())
			}
			fs.IntVar(p, name, n, help)
		case *uint:
			n, err := strconv.ParseUint(def, 10, 32)
			if err != nil {
				panic(name + ": " + err.Error())
			}
			fs.UintVar(p, name, uint(n), help)
		case flag.Value:
			if err := p.Set(def); err != nil {
				panic(name + ": " + err.Error())
			}
			fs.Var(p, name, help)
		default:
			panic(fmt.Sprintf("config: flag %s has a type that is not handled: %T", name, p))
		}
	})
}

// each calls fn for every field that is a flag.
func (c *Config) each(fn func(reflect.StructField, reflect.Value)) {
	v := reflect.ValueOf(c).Elem()
	t := v.Type()
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("flag") != "" {
			fn(f, v.Field(i))
		}
	}
}

// Default returns the configuration without any flags.
func Default() *Config {
	var c Config
	c.Register(flag.NewFlagSet("", flag.ContinueOnError))
	if err := c.Finish(); err != nil {
		panic(err)
	}
	return &c
}

// Finish completes c after flags were parsed: it fills in defaults that depend on the
// environment and refuses combinations that make no sense.
func (c *Config) Finish() error {
	if c.RootDir == "" {
		c.RootDir = "/var/run/runsc"
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			c.RootDir = filepath.Join(dir, "runsc")
		}
	}
	abs, err := filepath.Abs(c.RootDir)
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	c.RootDir = abs
	return c.validate()
}

func (c *Config) validate() error {
	for _, f := range []struct{ name, value string }{{"log-format", c.LogFormat}, {"debug-log-format", c.DebugLogFormat}} {
		switch f.value {
		case "text", "json", "json-k8s":
		default:
			return fmt.Errorf("invalid value %q for flag --%s: want text, json or json-k8s", f.value, f.name)
		}
	}
	switch c.Platform {
	case "", "systrap", "ptrace", "kvm":
	default:
		return fmt.Errorf("unknown platform %q: want systrap, ptrace or kvm", c.Platform)
	}
	switch c.SystrapPatch {
	case "auto", "off":
	default:
		return fmt.Errorf("invalid value %q for flag --systrap-patch: want auto or off", c.SystrapPatch)
	}
	switch c.HostUDS {
	case "none", "open", "create", "all":
	default:
		return fmt.Errorf("invalid value %q for flag --host-uds: want none, open, create or all", c.HostUDS)
	}
	if c.Overlay {
		if c.Overlay2.Root && c.Overlay2.String() != "all:memory" {
			return fmt.Errorf("--overlay and --overlay2=%s contradict each other", &c.Overlay2)
		}
		c.Overlay2 = Overlay2{Root: true, Mounts: true, Medium: "memory"}
		c.Overlay = false
	}
	if c.Overlay2.Root && c.FileAccess == FileAccessShared {
		return fmt.Errorf("--overlay2=%s cannot be used with --file-access=shared: an overlay needs a lower layer that does not change", &c.Overlay2)
	}
	if c.PanicSignal < -1 || c.PanicSignal > 64 {
		return fmt.Errorf("--panic-signal: no signal %d", c.PanicSignal)
	}
	return nil
}

// ToFlags returns the arguments that give a child the same configuration.
func (c *Config) ToFlags() []string {
	var args []string
	c.each(func(f reflect.StructField, v reflect.Value) {
		if f.Tag.Get("local") == "true" {
			return
		}
		var val string
		switch p := v.Addr().Interface().(type) {
		case *string:
			val = *p
		case *bool:
			val = strconv.FormatBool(*p)
		case *int:
			val = strconv.Itoa(*p)
		case *uint:
			val = strconv.FormatUint(uint64(*p), 10)
		case flag.Value:
			val = p.String()
		}
		if val != f.Tag.Get("default") {
			args = append(args, "--"+f.Tag.Get("flag")+"="+val)
		}
	})
	return args
}
