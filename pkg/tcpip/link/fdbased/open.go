package fdbased

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// SocketBuffer is what the receive and send buffers of a packet socket are set to, in
	// bytes: a receive window of TCP fits in, with the overhead that Linux counts.
	SocketBuffer = 8 << 20

	packetIgnoreOutgoing = 23 // PACKET_IGNORE_OUTGOING, not in package unix
	packetAllMulti       = 2  // PACKET_MR_ALLMULTI
)

// OpenPacketSocket makes a packet socket for KindPacket, bound to an interface of the network
// namespace that the calling thread is in. It is for the host's side, which has CAP_NET_RAW there.
//
// Frames that the host or the socket itself sends by the interface are not seen. Groups are not
// filtered by the host. The buffers are as large as SocketBuffer, or as the host's rmem_max and
// wmem_max allow without CAP_NET_ADMIN.
func OpenPacketSocket(ifindex int) (int, error) {
	// Without a protocol, the socket receives nothing before it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if err := setUpPacketSocket(fd, ifindex); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("packet socket of interface %d: %w", ifindex, err)
	}
	return fd, nil
}

func setUpPacketSocket(fd, ifindex int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("PACKET_VNET_HDR: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1); err != nil {
		return fmt.Errorf("PACKET_IGNORE_OUTGOING: %w", err)
	}
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	m := unix.PacketMreq{Ifindex: int32(ifindex), Type: packetAllMulti}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m); err != nil {
		return fmt.Errorf("PACKET_ADD_MEMBERSHIP: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifindex}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// setBuffer never fails: a smaller buffer works too.
func setBuffer(fd, force, usual int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, SocketBuffer/2) != nil { // Linux doubles it
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, usual, SocketBuffer/2)
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Offloads of TAP and TUN devices that package unix does not name.
const (
	tunUSO4 = 0x20
	tunUSO6 = 0x40
)

// OpenTAP makes a TAP device, or a TUN device without Ethernet headers, for KindTAP and KindTUN,
// in the network namespace that the calling thread is in. A name that is empty or ends in "%d" is
// chosen by the host; the name is returned. The device lives as long as the descriptor.
func OpenTAP(name string, tun bool) (fd int, actual string, err error) {
	fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, "", fmt.Errorf("/dev/net/tun: %w", err)
	}
	actual, err = setUpTAP(fd, name, tun)
	if err != nil {
		unix.Close(fd)
		return -1, "", fmt.Errorf("device %q: %w", name, err)
	}
	return fd, actual, nil
}

func setUpTAP(fd int, name string, tun bool) (string, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return "", err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if tun {
		flags = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return "", fmt.Errorf("TUNSETIFF: %w", err)
	}
	size := int32(vnetSize)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETVNETHDRSZ, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return "", fmt.Errorf("TUNSETVNETHDRSZ: %w", errno)
	}
	// What the host may send without cutting it up. UDP came with Linux 6.2.
	offload := unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload|tunUSO4|tunUSO6); err != nil {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offload); err != nil {
			return "", fmt.Errorf("TUNSETOFFLOAD: %w", err)
		}
	}
	return req.Name(), nil
}
