package stack

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// FrameHeader is the size of the link header that frames of the interface have, in bytes, as packet
// sockets see it; 0: none. lo's packets have none here, but Linux shows an Ethernet header of zeros
// (packet(7)).
func (n *NIC) FrameHeader() int {
	if n.caps&(CapResolution|CapLoopback) != 0 {
		return header.EthernetSize
	}
	return 0
}

// WriteFrame sends a packet that begins with its link header of FrameHeader bytes, as it is (packet(7)).
// It takes pkt. Packet endpoints see it, but for the sender, which may be nil. EINVAL: the header is
// not complete; ENETDOWN; ENOBUFS.
func (n *NIC) WriteFrame(pkt *buffer.Packet, sender PacketEndpoint) error {
	if n.caps&(CapResolution|CapLoopback) != 0 {
		b, ok := pkt.Peek(header.EthernetSize)
		if !ok {
			pkt.Release()
			return unix.EINVAL
		}
		h := header.Ethernet(b)
		pkt.EtherType = h.Type()
		pkt.LinkHeader = b
		pkt.LinkSource, pkt.LinkDestination, pkt.HasLink = h.Source(), h.Destination(), true
	}
	if !n.up.Load() {
		n.stats.TXDropped.Inc()
		pkt.Release()
		return unix.ENETDOWN
	}
	if list := n.stack.packets.all.Load(); list != nil {
		for _, t := range *list {
			if t.endpoint != sender && (t.nic == 0 || t.nic == n.id) {
				c := pkt.Clone()
				c.NIC, c.PacketType = n.id, packetOutgoing
				c.Consume(len(c.LinkHeader))
				t.endpoint.HandleFrame(n.id, c)
			}
		}
	}
	n.stats.TXPackets.Inc()
	n.stats.TXBytes.Add(uint64(pkt.Len()))
	if n.IsLoopback() {
		// The link gives back what it is given, and that begins with the network header.
		etherType := pkt.EtherType
		p := buffer.New()
		p.CopyProperties(pkt)
		p.EtherType = etherType
		p.AppendFrom(pkt, header.EthernetSize, pkt.Len()-header.EthernetSize)
		pkt.Release()
		pkt = p
	}
	b := newBatch(pkt)
	err := n.link.WritePackets(b.pkts)
	b.free()
	if err != nil {
		n.stats.TXDropped.Inc()
	}
	return err
}
