package inet

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/tcp"
)

// setting is a variable of sysctl(8) that the stack goes by.
type setting struct {
	get func(*stack.Settings) string
	set func(*stack.Settings, string) error // nil: read only
}

// settings are the variables by their paths below /proc/sys.
var settings = map[string]setting{
	"net/core/somaxconn":    number(func(s *stack.Settings) *atomic.Int32 { return &s.Somaxconn }, 0, 1<<31-1),
	"net/core/rmem_max":     size(func(s *stack.Settings) *atomic.Int64 { return &s.ReceiveMax }, minReceiveBuffer),
	"net/core/wmem_max":     size(func(s *stack.Settings) *atomic.Int64 { return &s.SendMax }, minSendBuffer),
	"net/core/rmem_default": size(func(s *stack.Settings) *atomic.Int64 { return &s.ReceiveDefault }, minReceiveBuffer),
	"net/core/wmem_default": size(func(s *stack.Settings) *atomic.Int64 { return &s.SendDefault }, minSendBuffer),

	"net/ipv4/ip_forward":                  onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPForward }),
	"net/ipv4/ip_default_ttl":              number(func(s *stack.Settings) *atomic.Int32 { return &s.IPDefaultTTL }, 1, 255),
	"net/ipv4/ip_nonlocal_bind":            onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPNonlocalBind }),
	"net/ipv4/ip_unprivileged_port_start":  number(func(s *stack.Settings) *atomic.Int32 { return &s.UnprivilegedPort }, 0, 65535),
	"net/ipv4/icmp_echo_ignore_broadcasts": onOff(func(s *stack.Settings) *atomic.Bool { return &s.IgnoreBroadcastEcho }),
	"net/ipv4/ip_local_port_range": {
		get: func(s *stack.Settings) string { return fmt.Sprintf("%d\t%d", s.PortLow.Load(), s.PortHigh.Load()) },
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 2, 1, 65535)
			if err != nil || n[0] > n[1] {
				return unix.EINVAL
			}
			s.PortLow.Store(int32(n[0]))
			s.PortHigh.Store(int32(n[1]))
			return nil
		},
	},
	"net/ipv4/ping_group_range": {
		get: func(s *stack.Settings) string {
			return fmt.Sprintf("%d\t%d", s.PingGroupLow.Load(), s.PingGroupHigh.Load())
		},
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 2, 0, 1<<32-2)
			if err != nil {
				return err
			}
			if n[0] > n[1] {
				n[0], n[1] = 1, 0 // nobody
			}
			s.PingGroupLow.Store(uint32(n[0]))
			s.PingGroupHigh.Store(uint32(n[1]))
			return nil
		},
	},

	"net/ipv4/tcp_rmem":                  sizes(func(s *stack.Settings) *[3]atomic.Int64 { return &s.TCPReceive }),
	"net/ipv4/tcp_wmem":                  sizes(func(s *stack.Settings) *[3]atomic.Int64 { return &s.TCPSend }),
	"net/ipv4/tcp_sack":                  onOff(func(s *stack.Settings) *atomic.Bool { return &s.TCPSACK }),
	"net/ipv4/tcp_timestamps":            onOff(func(s *stack.Settings) *atomic.Bool { return &s.TCPTimestamps }),
	"net/ipv4/tcp_window_scaling":        onOff(func(s *stack.Settings) *atomic.Bool { return &s.TCPWindowScaling }),
	"net/ipv4/tcp_moderate_rcvbuf":       onOff(func(s *stack.Settings) *atomic.Bool { return &s.TCPModerate }),
	"net/ipv4/tcp_slow_start_after_idle": onOff(func(s *stack.Settings) *atomic.Bool { return &s.TCPSlowStartAfterIdle }),
	"net/ipv4/tcp_syncookies":            number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPSynCookies }, 0, 2),
	"net/ipv4/tcp_ecn":                   number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPECN }, 0, 2),
	"net/ipv4/tcp_max_syn_backlog":       number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPMaxSynBacklog }, 0, 1<<31-1),
	"net/ipv4/tcp_syn_retries":           number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPSynRetries }, 1, 127),
	"net/ipv4/tcp_synack_retries":        number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPSynAckRetries }, 0, 255),
	"net/ipv4/tcp_retries2":              number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPRetries2 }, 0, 255),
	"net/ipv4/tcp_fin_timeout":           number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPFinTimeout }, 0, 1<<31-1),
	"net/ipv4/tcp_keepalive_time":        number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPKeepaliveTime }, 1, 1<<31-1),
	"net/ipv4/tcp_keepalive_intvl":       number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPKeepaliveInterval }, 1, 1<<31-1),
	"net/ipv4/tcp_keepalive_probes":      number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPKeepaliveProbes }, 1, 255),
	"net/ipv4/tcp_tw_reuse":              number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPReuseTimeWait }, 0, 2),
	"net/ipv4/tcp_max_tw_buckets":        number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPMaxTimeWait }, 0, 1<<31-1),
	"net/ipv4/tcp_fastopen":              number(func(s *stack.Settings) *atomic.Int32 { return &s.TCPFastOpen }, 0, 1<<31-1),
	"net/ipv4/tcp_congestion_control": {
		get: func(s *stack.Settings) string { return s.CongestionControl.Load() },
		set: func(s *stack.Settings, v string) error {
			for _, name := range tcp.CongestionControls() {
				if name == v {
					s.CongestionControl.Store(v)
					return nil
				}
			}
			return unix.ENOENT
		},
	},
	"net/ipv4/tcp_available_congestion_control": {get: func(*stack.Settings) string { return congestionNames() }},
	"net/ipv4/tcp_allowed_congestion_control":   {get: func(*stack.Settings) string { return congestionNames() }},

	"net/ipv6/bindv6only": onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPv6BindV6Only }),
}

// interfaceSettings are those of net/ipv4/conf and net/ipv6/conf that the stack goes by. It has
// one value for all its interfaces.
var interfaceSettings = map[string]setting{
	"ipv4/forwarding":       onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPForward }),
	"ipv6/forwarding":       onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPv6Forwarding }),
	"ipv6/accept_ra":        onOff(func(s *stack.Settings) *atomic.Bool { return &s.AcceptRA }),
	"ipv6/accept_dad":       onOff(func(s *stack.Settings) *atomic.Bool { return &s.AcceptDAD }),
	"ipv6/autoconf":         onOff(func(s *stack.Settings) *atomic.Bool { return &s.Autoconf }),
	"ipv6/accept_redirects": onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPv6AcceptRedirects }),
	"ipv6/disable_ipv6":     onOff(func(s *stack.Settings) *atomic.Bool { return &s.IPv6Disabled }),
	"ipv6/hop_limit":        number(func(s *stack.Settings) *atomic.Int32 { return &s.IPv6HopLimit }, 1, 255),
	"ipv6/dad_transmits":    number(func(s *stack.Settings) *atomic.Int32 { return &s.DADTransmits }, 0, 1<<31-1),
}

// numbers reads n numbers between lo and hi.
func numbers(v string, n int, lo, hi int64) ([]int64, error) {
	words := strings.Fields(v)
	if len(words) != n {
		return nil, unix.EINVAL
	}
	out := make([]int64, n)
	for i, w := range words {
		x, err := strconv.ParseInt(w, 0, 64)
		if err != nil || x < lo || x > hi {
			return nil, unix.EINVAL
		}
		out[i] = x
	}
	return out, nil
}

// onOff is a switch. Other numbers than 0 turn it on.
func onOff(f func(*stack.Settings) *atomic.Bool) setting {
	return setting{
		get: func(s *stack.Settings) string { return strconv.Itoa(truth(f(s).Load())) },
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 1, -1<<31, 1<<31-1)
			if err != nil {
				return err
			}
			f(s).Store(n[0] != 0)
			return nil
		},
	}
}

func number(f func(*stack.Settings) *atomic.Int32, lo, hi int64) setting {
	return setting{
		get: func(s *stack.Settings) string { return strconv.Itoa(int(f(s).Load())) },
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 1, lo, hi)
			if err != nil {
				return err
			}
			f(s).Store(int32(n[0]))
			return nil
		},
	}
}

// maxBuffer bounds what applications may set as sizes of buffers, in bytes: it is the sentry's
// memory.
const maxBuffer = 1 << 30

// size is a size in bytes.
func size(f func(*stack.Settings) *atomic.Int64, lo int64) setting {
	return setting{
		get: func(s *stack.Settings) string { return strconv.FormatInt(f(s).Load(), 10) },
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 1, lo, 1<<31-1)
			if err != nil {
				return err
			}
			f(s).Store(min(n[0], maxBuffer))
			return nil
		},
	}
}

// sizes are the least, the first and the greatest size of a buffer.
func sizes(f func(*stack.Settings) *[3]atomic.Int64) setting {
	return setting{
		get: func(s *stack.Settings) string {
			v := f(s)
			return fmt.Sprintf("%d\t%d\t%d", v[0].Load(), v[1].Load(), v[2].Load())
		},
		set: func(s *stack.Settings, v string) error {
			n, err := numbers(v, 3, 1, 1<<31-1)
			if err != nil {
				return err
			}
			for i := range n {
				f(s)[i].Store(min(n[i], maxBuffer))
			}
			return nil
		},
	}
}

// confName takes "net/ipv6/conf/eth0/forwarding" apart; ok is false for other names.
func confName(name string) (family, device, key string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0] != "net" || parts[2] != "conf" {
		return "", "", "", false
	}
	return parts[1], parts[3], parts[4], true
}

// Setting is a variable of sysctl(8) as the namespace has it, by its path below /proc/sys; ok is
// false if the namespace does not have it.
func (n *Namespace) Setting(name string) (value string, ok bool) {
	if s, ok := settings[name]; ok {
		return s.get(n.stack.Settings()), true
	}
	n.mu.Lock()
	v, ok := n.recorded[name]
	n.mu.Unlock()
	if ok {
		return v, true
	}
	family, device, key, ok := confName(name)
	if !ok {
		return "", false
	}
	if key == "mtu" && family == "ipv6" {
		if nic := n.stack.NICByName(device); nic != nil {
			return strconv.Itoa(int(nic.MTU())), true
		}
	}
	s, ok := interfaceSettings[family+"/"+key]
	if !ok {
		return "", false
	}
	return s.get(n.stack.Settings()), true
}

// SetSetting changes a variable; value was checked as far as its text goes. What the stack has no
// use for is recorded. ok is false if the namespace does not have the variable. EINVAL.
func (n *Namespace) SetSetting(name, value string) (ok bool, err error) {
	if s, ok := settings[name]; ok {
		if s.set == nil {
			n.record(name, value)
			return true, nil
		}
		return true, s.set(n.stack.Settings(), value)
	}
	family, device, key, ok := confName(name)
	if !ok {
		if !strings.HasPrefix(name, "net/ipv4/") && !strings.HasPrefix(name, "net/ipv6/") {
			return false, nil
		}
		n.record(name, value)
		return true, nil
	}
	s, ok := interfaceSettings[family+"/"+key]
	if !ok {
		n.record(name, value)
		return true, nil
	}
	nic := n.stack.NICByName(device)
	if key == "disable_ipv6" {
		return true, n.disableIPv6(name, value, nic)
	}
	if nic != nil && nic.IsLoopback() {
		n.record(name, value)
		return true, nil
	}
	return true, s.set(n.stack.Settings(), value)
}

func (n *Namespace) record(name, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.recorded == nil {
		n.recorded = map[string]string{}
	}
	n.recorded[name] = value
}

// disableIPv6 is conf/*/disable_ipv6: of one interface, or of all (nil), which lose their addresses;
// enabled again, they get those that they have by themselves.
func (n *Namespace) disableIPv6(name, value string, nic *stack.NIC) error {
	v, err := numbers(value, 1, 0, 1)
	if err != nil {
		return err
	}
	off := v[0] == 1
	nics := []*stack.NIC{nic}
	if nic == nil {
		n.stack.Settings().IPv6Disabled.Store(off)
		nics = n.stack.NICs()
	} else {
		n.record(name, value)
	}
	if nic == nil && strings.Contains(name, "/default/") {
		return nil // of interfaces that are yet to come
	}
	for _, nic := range nics {
		if off {
			dropAddresses6(nic)
		} else if nic.Up() && nic.IsLoopback() {
			nic.AddAddress(stack.Address{Prefix: loopbackPrefix6, Scope: unix.RT_SCOPE_HOST, NoDAD: true})
		}
	}
	return nil
}

func dropAddresses6(nic *stack.NIC) {
	for _, a := range nic.Addresses() {
		if a.Prefix.Addr().Is6() {
			nic.RemoveAddress(a.Prefix)
		}
	}
}

// DeviceNames are the names of the interfaces by rising index.
func (n *Namespace) DeviceNames() []string {
	var out []string
	for _, nic := range n.stack.NICs() {
		out = append(out, nic.Name())
	}
	return out
}
