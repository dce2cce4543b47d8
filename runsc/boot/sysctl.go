package boot

import (
	"runsc/pkg/log"
	"runsc/pkg/sentry/fs/proc"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/syscalls"
)

// netSettings are the variables of /proc/sys/net of each namespace's stack. It implements
// proc.NetSettings, and syscalls.Networking for the sake of linux.sysctl.
type netSettings struct {
	k    *kernel.Kernel
	next syscalls.Networking
}

// withNetSettings makes the variables of network namespaces those of their stacks, and the first
// namespace that n fills begin with those that the specification sets.
func withNetSettings(k *kernel.Kernel, n syscalls.Networking) syscalls.Networking {
	s := &netSettings{k, n}
	proc.SysctlsOf(k).SetNet(s)
	return s
}

// AddFamilies implements syscalls.Networking.
func (s *netSettings) AddFamilies(layer *socket.Stack, ns *kernel.NetNamespace) {
	s.next.AddFamilies(layer, ns)
	n := inet.NamespaceOf(layer)
	if n == nil || ns.ID() != 1 {
		return
	}
	proc.SysctlsOf(s.k).Each("net/", func(name, value string) {
		if _, err := n.SetSetting(name, value); err != nil {
			log.Warningf("linux.sysctl: %s=%s: %v", name, value, err)
		}
	})
}

func (s *netSettings) of(ns *kernel.NetNamespace) *inet.Namespace {
	return inet.NamespaceOf(syscalls.NetStack(s.k, ns))
}

// NetSetting implements proc.NetSettings.
func (s *netSettings) NetSetting(ns *kernel.NetNamespace, name string) (string, bool) {
	if n := s.of(ns); n != nil {
		return n.Setting(name)
	}
	return "", false
}

// SetNetSetting implements proc.NetSettings.
func (s *netSettings) SetNetSetting(ns *kernel.NetNamespace, name, value string) (bool, error) {
	if n := s.of(ns); n != nil {
		return n.SetSetting(name, value)
	}
	return false, nil
}

// NetDeviceNames implements proc.NetSettings.
func (s *netSettings) NetDeviceNames(ns *kernel.NetNamespace) []string {
	if n := s.of(ns); n != nil {
		return n.DeviceNames()
	}
	return nil
}
