package socket

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestControlRoundTrip(t *testing.T) {
	out := NewControlOut(nil, 1024)
	out.AddRights([]int32{3, 4, 5})
	out.AddCreds(Ucred{1, 2, 3})
	out.Add(unix.IPPROTO_IP, 8, []byte("raw"))
	b, cut := out.Result()
	if cut || len(b)%8 != 0 {
		t.Errorf("truncated %v, %d bytes", cut, len(b))
	}
	// The standard library agrees.
	if ms, err := unix.ParseSocketControlMessage(b); err != nil || len(ms) != 3 {
		t.Errorf("x/sys: %d messages, %v", len(ms), err)
	}
	in, err := ParseControl(b)
	if err != nil || len(in.FDs) != 3 || in.FDs[2] != 5 || in.Creds != (Ucred{1, 2, 3}) || !in.HasCreds ||
		len(in.Raw) != 1 || string(in.Raw[0].Data) != "raw" {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestControlTruncation(t *testing.T) {
	for limit, want := range map[int]int{0: 0, 15: 0, 16: 0, 20: 1, 24: 2, 28: 3, 100: 21} {
		out := NewControlOut(nil, limit)
		if n := out.RoomForRights(); n != want {
			t.Errorf("limit %d: room for %d", limit, n)
		}
		out.AddRights(make([]int32, 30))
		b, cut := out.Result()
		if len(b) > limit || !cut {
			t.Errorf("limit %d: %d bytes, truncated %v", limit, len(b), cut)
		}
	}
}

func TestControlErrors(t *testing.T) {
	head := func(n uint64, level, typ uint32, data ...byte) []byte {
		b := binary.NativeEndian.AppendUint64(nil, n)
		b = binary.NativeEndian.AppendUint32(b, level)
		b = binary.NativeEndian.AppendUint32(b, typ)
		return append(b, data...)
	}
	for name, b := range map[string][]byte{
		"short length": head(15, unix.SOL_SOCKET, unix.SCM_RIGHTS),
		"long length":  head(17, unix.SOL_SOCKET, unix.SCM_RIGHTS),
		"huge length":  head(1<<63, unix.SOL_SOCKET, unix.SCM_RIGHTS),
		"half an fd":   head(18, unix.SOL_SOCKET, unix.SCM_RIGHTS, 1, 2),
		"short ucred":  head(20, unix.SOL_SOCKET, unix.SCM_CREDENTIALS, 1, 2, 3, 4),
		"unknown":      head(16, unix.SOL_SOCKET, 77),
		"too many":     head(16+4*254, unix.SOL_SOCKET, unix.SCM_RIGHTS, make([]byte, 4*254)...),
	} {
		if _, err := ParseControl(b); err != unix.EINVAL {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	out := NewControlOut(nil, 1024)
	out.AddRights([]int32{3, 4, 5})
	out.AddCreds(Ucred{1, 2, 3})
	b, _ := out.Result()
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		c, err := ParseControl(b)
		if err == nil && len(c.FDs) > MaxRights {
			t.Error("too many descriptors")
		}
		if !bytes.Equal(b, before) {
			t.Error("input changed")
		}
	})
}
