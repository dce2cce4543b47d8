package sniffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// Numbers of the pcap file format (draft-ietf-opsawg-pcap).
const (
	pcapMagic        = 0xa1b23c4d // time stamps in nanoseconds
	linkTypeEthernet = 1
	linkTypeRaw      = 101 // IP of either version
	fileHeaderSize   = 24
	recordHeaderSize = 16
	defaultSnap      = 262144
)

// errFull ends a capture that has reached its bound.
var errFull = errors.New("the file is full")

// pcap writes a file. Records are gathered and written by flush, so that a batch of packets is one
// write(2).
type pcap struct {
	file    *os.File
	snap    int
	room    int64 // bytes that the file may still grow; < 0: no bound
	pending []byte
	full    bool
}

func newPCAP(file *os.File, ethernet bool, snap int, maxBytes int64) (*pcap, error) {
	if snap <= 0 || snap > defaultSnap {
		snap = defaultSnap
	}
	c := &pcap{file: file, snap: snap, room: -1}
	if maxBytes > 0 {
		c.room = max(maxBytes-fileHeaderSize, 0)
	}
	linkType := uint32(linkTypeRaw)
	if ethernet {
		linkType = linkTypeEthernet
	}
	b := binary.LittleEndian.AppendUint32(nil, pcapMagic)
	b = binary.LittleEndian.AppendUint16(b, 2) // version 2.4
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // reserved
	b = binary.LittleEndian.AppendUint32(b, uint32(snap))
	b = binary.LittleEndian.AppendUint32(b, linkType)
	if _, err := file.Write(b); err != nil {
		return nil, fmt.Errorf("packet capture: %w", err)
	}
	return c, nil
}

// add puts a packet behind those that are pending.
func (c *pcap) add(now time.Time, pieces [][]byte) {
	size := 0
	for _, b := range pieces {
		size += len(b)
	}
	keep := min(size, c.snap)
	if total := int64(recordHeaderSize + keep); c.room >= 0 {
		if c.full = c.full || total > c.room; c.full {
			return
		}
		c.room -= total
	}
	b := c.pending
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(now.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(keep))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for _, p := range pieces {
		n := min(len(p), keep)
		b = append(b, p[:n]...)
		keep -= n
	}
	c.pending = b
}

// flush writes what is pending. errFull: the capture has ended.
func (c *pcap) flush() error {
	_, err := c.file.Write(c.pending)
	c.pending = c.pending[:0]
	if err == nil && c.full {
		err = errFull
	}
	return err
}
