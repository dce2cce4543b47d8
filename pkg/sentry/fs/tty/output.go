package tty

import "golang.org/x/sys/unix"

func isControl(c byte) bool { return c < 0x20 || c == 0x7f }

// continuation says whether c continues a character: it takes no column.
func (t *Terminal) continuation(c byte) bool { return t.termios.i(unix.IUTF8) && c&0xc0 == 0x80 }

// room is how many bytes a writer may add to the output. mu is held.
func (t *Terminal) room() int {
	if t.stopped {
		return 0
	}
	return max(outputSize-outputReserve-t.out.len(), 0)
}

// process sends one byte to the output as OPOST and its companions say. mu is held. The
// caller has checked that 8 bytes fit.
func (t *Terminal) process(c byte) {
	o := &t.termios
	if !o.o(unix.OPOST) {
		t.out.put(c)
		return
	}
	switch c {
	case '\n':
		if o.o(unix.ONLRET) {
			t.column = 0
		}
		if o.o(unix.ONLCR) {
			t.column, t.canonColumn = 0, 0
			t.out.put('\r')
		}
	case '\r':
		if o.o(unix.ONOCR) && t.column == 0 {
			return
		}
		if o.o(unix.OCRNL) {
			c = '\n'
			if o.o(unix.ONLRET) {
				t.column, t.canonColumn = 0, 0
			}
			break
		}
		t.column, t.canonColumn = 0, 0
	case '\t':
		n := 8 - t.column%8
		t.column += n
		if o.Oflag&unix.TABDLY == xtabs {
			t.out.put([]byte("        ")[:n]...)
			return
		}
	case '\b':
		if t.column > 0 {
			t.column--
		}
	default:
		if !isControl(c) {
			if o.o(unix.OLCUC) && c >= 'a' && c <= 'z' {
				c -= 'a' - 'A'
			}
			if !t.continuation(c) {
				t.column++
			}
		}
	}
	t.out.put(c)
}

// Echoes go through a queue of their own while output is stopped, so that they appear where
// they belong. mu is held by all of the following.

// echoRaw echoes c as it is, but for output processing.
func (t *Terminal) echoRaw(c byte) {
	if t.out.len() < outputSize-8 {
		t.process(c)
	}
}

// echoChar echoes c, control characters as ^X if ECHOCTL is set.
func (t *Terminal) echoChar(c byte) {
	if t.termios.l(unix.ECHOCTL) && isControl(c) && c != '\t' {
		if t.out.len() < outputSize-8 {
			t.out.put('^', c^0x40)
			t.column += 2
		}
		return
	}
	t.echoRaw(c)
}

// echoErase moves the cursor back over one column and clears it.
func (t *Terminal) echoErase() {
	if t.out.len() < outputSize-8 {
		t.out.put('\b', ' ', '\b')
		if t.column > 0 {
			t.column--
		}
	}
}

// echoBack moves the cursor back n columns.
func (t *Terminal) echoBack(n int) {
	for range n {
		if t.out.len() < outputSize-8 {
			t.out.put('\b')
			if t.column > 0 {
				t.column--
			}
		}
	}
}

// finishErasing ends a run of ECHOPRT's erased characters.
func (t *Terminal) finishErasing() {
	if t.erasing {
		t.echoRaw('/')
		t.erasing = false
	}
}
