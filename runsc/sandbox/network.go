package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/netconf"
	"runsc/runsc/netns"
	"runsc/runsc/specutils"
)

// Network is what a sandbox does with its network namespace (--network=sandbox). Without one it
// does nothing.
type Network struct {
	// PCAP is where packets are written to (--pcap-log), "" if they are not.
	PCAP string `json:"pcap,omitempty"`
	// Path is a name of a namespace that may outlive the sandbox, "" if it ends with it.
	Path string `json:"path,omitempty"`
	// Dev and Ino identify the namespace behind Path.
	Dev uint64 `json:"dev,omitempty"`
	Ino uint64 `json:"ino,omitempty"`
	// Taken is the configuration that was taken over, nil: none was.
	Taken *netconf.Config `json:"taken,omitempty"`
}

// newNetwork says what the sandbox is to do.
func newNetwork(a *StartArgs) *Network {
	if a.Conf.Network != config.NetworkSandbox || a.Conf.TestOnlyNonRoot {
		return nil
	}
	ns, _ := specutils.Namespace(a.Spec, specs.NetworkNamespace)
	return &Network{PCAP: a.Conf.PCAPLog, Path: ns.Path}
}

// SetUpNetwork takes over the network namespace that the sandbox is in, as it is configured now,
// if that is to be done. save is called when it is known what that will change.
func (s *Sandbox) SetUpNetwork(spec *specs.Spec, save func() error) error {
	n := s.Network
	if n == nil || n.Taken != nil {
		return nil
	}
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", s.PID))
	if err != nil {
		if !s.IsRunning() {
			return ErrNotRunning
		}
		if os.Geteuid() != 0 {
			// An ordinary user's new namespace has nothing but lo.
			log.Debugf("network: %v; loopback only", err)
			return nil
		}
		return err
	}
	defer ns.Close()
	var c *netconf.Config
	if err := ns.Do(func() (err error) {
		c, err = netns.Read()
		return err
	}); err != nil {
		if os.Geteuid() != 0 && errors.Is(err, unix.EPERM) {
			log.Debugf("network: %v; loopback only", err)
			return nil
		}
		return err
	}
	c.DNS = resolvesAt(spec, dockerDNS)
	if len(c.Links) == 0 && !c.DNS {
		return nil
	}
	if n.Path != "" {
		var st unix.Stat_t
		if err := unix.Stat(n.Path, &st); err != nil {
			return fmt.Errorf("network namespace %s: %w", n.Path, err)
		}
		n.Dev, n.Ino = uint64(st.Dev), st.Ino
	}
	n.Taken = c
	if err := save(); err != nil {
		return err
	}
	args := boot.NetworkArgs{Config: *c}
	defer func() {
		for _, f := range args.Files {
			f.Close()
		}
	}()
	if err := ns.Do(func() (err error) {
		args.Files, err = netns.Take(c)
		if err == nil && c.DNS {
			err = addDNS(&args)
		}
		return err
	}); err != nil {
		return err
	}
	if n.PCAP != "" {
		if err := addCaptures(&args, n.PCAP); err != nil {
			return err
		}
	}
	return s.ConfigureNetwork(&args)
}

// addDNS adds a socket that is connected to Docker's DNS server in the present namespace. Without
// a server names are not found, which is no reason not to start.
func addDNS(args *boot.NetworkArgs) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 53, Addr: dockerDNS.As4()}); err != nil {
		log.Warningf("network: no DNS server at %v: %v", dockerDNS, err)
		unix.Close(fd)
		args.Config.DNS = false
		return nil
	}
	args.Files = append(args.Files, os.NewFile(uintptr(fd), "DNS server"))
	return nil
}

// addCaptures adds a pcap file for each link, behind the packet sockets. The first link's is path
// itself.
func addCaptures(args *boot.NetworkArgs, path string) error {
	links := args.Config.Links
	var files []*os.File
	for i := range links {
		name := path
		if i > 0 {
			name += "." + links[i].Name
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return fmt.Errorf("--pcap-log: %w", err)
		}
		files = append(files, f)
	}
	args.PCAP = true
	sockets, rest := args.Files[:len(links):len(links)], args.Files[len(links):]
	args.Files = append(append(sockets, files...), rest...)
	return nil
}

// RestoreNetwork puts back what SetUpNetwork took, if the namespace outlives the sandbox. What
// is gone meanwhile is no error.
func (s *Sandbox) RestoreNetwork() error {
	if s == nil || s.Network == nil || s.Network.Taken == nil || s.Network.Path == "" {
		return nil
	}
	n := s.Network
	var st unix.Stat_t
	if unix.Stat(n.Path, &st) != nil || uint64(st.Dev) != n.Dev || st.Ino != n.Ino {
		return nil // another one by now
	}
	ns, err := netns.Open(n.Path)
	if err != nil {
		return nil
	}
	defer ns.Close()
	if err := ns.Do(func() error { return netns.Restore(n.Taken) }); err != nil {
		// A failure here must not keep the container from being deleted.
		log.Warningf("putting the network namespace %s back: %v", n.Path, err)
	}
	n.Taken = nil
	return nil
}

// dockerDNS is where Docker's DNS server for networks of its users is.
var dockerDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// maxResolvConf bounds what is read of a resolv.conf.
const maxResolvConf = 64 << 10

// resolvesAt says whether the container's /etc/resolv.conf names server. A file that cannot be
// read names none.
func resolvesAt(spec *specs.Spec, server netip.Addr) bool {
	data := resolvConf(spec)
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" && f[1] == server.String() {
			return true
		}
	}
	return false
}

func resolvConf(spec *specs.Spec) []byte {
	const path = "/etc/resolv.conf"
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; filepath.Clean(m.Destination) == path && specutils.IsBind(m) {
			return readStart(unix.AT_FDCWD, m.Source, 0)
		}
	}
	root, err := unix.Open(spec.Root.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(root)
	return readStart(root, path, unix.RESOLVE_IN_ROOT) // the image's symlinks stay inside
}

func readStart(dir int, path string, resolve uint64) []byte {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: resolve})
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var b bytes.Buffer
	buf := make([]byte, 4096)
	for b.Len() < maxResolvConf {
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			break
		}
		b.Write(buf[:n])
	}
	return b.Bytes()
}
