package inet

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip/link/dummy"
	"runsc/pkg/tcpip/stack"
)

// devices are the interfaces of a namespace. It implements socket.Devices.
type devices struct{ ns *Namespace }

// List implements socket.Devices.
func (d *devices) List() []socket.Device {
	nics := d.ns.stack.NICs()
	out := make([]socket.Device, 0, len(nics))
	for _, nic := range nics {
		out = append(out, DeviceOf(nic))
	}
	return out
}

// DeviceOf describes an interface as netdevice(7) does.
func DeviceOf(nic *stack.NIC) socket.Device {
	d := socket.Device{
		Index: int32(nic.ID()), Name: nic.Name(), Type: nic.Link().HardwareType(), MTU: nic.MTU(),
		HWAddr: nic.Link().LinkAddress(), Flags: Flags(nic),
	}
	for _, a := range nic.Addresses() {
		d.Addrs = append(d.Addrs, a.Prefix)
	}
	return d
}

// KindOf is the kind of a virtual link (ip-link(8)), "" if it has none.
func KindOf(nic *stack.NIC) string {
	if k, ok := nic.Link().(interface{ Kind() string }); ok {
		return k.Kind()
	}
	return ""
}

// Flags are IFF_* of an interface. A link of the stack always has its carrier.
func Flags(nic *stack.NIC) uint32 {
	flags := uint32(unix.IFF_BROADCAST | unix.IFF_MULTICAST)
	switch {
	case nic.IsLoopback():
		flags = unix.IFF_LOOPBACK
	case nic.Link().HardwareType() == unix.ARPHRD_NONE:
		flags = unix.IFF_POINTOPOINT | unix.IFF_NOARP | unix.IFF_MULTICAST
	case KindOf(nic) == dummy.Kind:
		flags = unix.IFF_BROADCAST | unix.IFF_NOARP
	}
	if nic.Up() {
		flags |= unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	}
	if nic.Promiscuous() {
		flags |= unix.IFF_PROMISC
	}
	if nic.AllMulticast() {
		flags |= unix.IFF_ALLMULTI
	}
	return flags
}
