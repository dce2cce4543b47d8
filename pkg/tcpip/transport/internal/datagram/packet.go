package datagram

import (
	"runsc/pkg/bpf"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
)

// Sum adds the bytes of a packet that are not consumed to a partial checksum.
func Sum(pkt *buffer.Packet, partial uint32) uint32 {
	var store [8][]byte
	odd := false
	for _, b := range pkt.Slices(store[:0]) {
		partial, odd = checksum.Add(partial, b, odd)
	}
	return partial
}

// Filter runs a socket filter over the bytes of a packet that are not consumed and cuts off what it
// does not keep, but never the first least bytes. false: the packet is to be dropped.
func Filter(f *bpf.Program, pkt *buffer.Packet, least int) bool {
	data, _ := pkt.Peek(pkt.Len())
	// SKF_AD_PROTOCOL, PKTTYPE, IFINDEX, two that read netlink attributes, and MARK
	// (linux/filter.h).
	ancillary := [...]uint32{uint32(pkt.EtherType), uint32(pkt.PacketType), uint32(pkt.NIC), 0, 0, pkt.Mark}
	keep := f.Run(&bpf.Packet{Data: data, Ancillary: ancillary[:]})
	if keep == 0 {
		return false
	}
	if n := max(int(min(keep, buffer.MaxPacket)), least); n < pkt.Len() {
		pkt.Truncate(n)
	}
	return true
}
