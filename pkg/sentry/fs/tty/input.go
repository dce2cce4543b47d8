package tty

import "golang.org/x/sys/unix"

// signals is what processing input leads to, to be sent without the lock.
type signals struct {
	group Group
	nrs   [4]int32
	n     int
}

func (s *signals) add(g Group, nr int32) {
	if g != nil && s.n < len(s.nrs) {
		s.group = g
		s.nrs[s.n] = nr
		s.n++
	}
}

func (s *signals) send() {
	for _, nr := range s.nrs[:s.n] {
		s.group.Signal(nr)
	}
}

// receive takes input from the peer until the ring is full, and returns how many bytes it
// took. mu is held; the caller sends the signals afterwards.
func (t *Terminal) receive(b []byte, s *signals) int {
	for i, c := range b {
		if s.n == len(s.nrs) || !t.receiveByte(c, s) {
			return i
		}
	}
	return len(b)
}

// receiveByte processes one byte; false: there is no room for it.
func (t *Terminal) receiveByte(c byte, s *signals) bool {
	o := &t.termios
	canon := o.l(unix.ICANON) && !o.l(unix.EXTPROC)
	// An unfinished line that fills the ring loses its last byte to each that follows, so
	// that its end can still come in. Otherwise readers must make room first.
	if t.in.room() <= 3 {
		if !canon || t.in.canon != t.in.tail {
			return false
		}
		t.in.head = t.in.tail + inputSize - 4
	}
	if o.i(unix.ISTRIP) {
		c &= 0x7f
	}
	if o.i(unix.IUCLC) && o.l(unix.IEXTEN) && c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	switch {
	case o.l(unix.EXTPROC):
		t.in.put(c, 0)
		return true
	case t.literal:
		t.literal = false
		if o.l(unix.ECHO) {
			t.finishErasing()
			t.noteCanonColumn()
			t.echoChar(c)
		}
		t.store(c)
		return true
	}

	if o.i(unix.IXON) {
		if o.is(c, unix.VSTART) {
			t.start()
			return true
		}
		if o.is(c, unix.VSTOP) {
			t.stop()
			return true
		}
	}
	if o.l(unix.ISIG) {
		nr := int32(0)
		switch {
		case o.is(c, unix.VINTR):
			nr = int32(unix.SIGINT)
		case o.is(c, unix.VQUIT):
			nr = int32(unix.SIGQUIT)
		case o.is(c, unix.VSUSP):
			nr = int32(unix.SIGTSTP)
		}
		if nr != 0 {
			t.signalChar(c, nr, s)
			return true
		}
	}
	if t.stopped && !t.tcoStopped && o.i(unix.IXON) && o.i(unix.IXANY) {
		t.start()
	}
	switch c {
	case '\r':
		if o.i(unix.IGNCR) {
			return true
		}
		if o.i(unix.ICRNL) {
			c = '\n'
		}
	case '\n':
		if o.i(unix.INLCR) {
			c = '\r'
		}
	}
	if canon && t.edit(c) {
		return true
	}
	if o.l(unix.ECHO) {
		t.finishErasing()
		t.noteCanonColumn()
		if c == '\n' {
			t.echoRaw(c)
		} else {
			t.echoChar(c)
		}
	}
	t.store(c)
	return true
}

// store puts an ordinary byte into the ring.
func (t *Terminal) store(c byte) {
	if c == 0xff && t.termios.i(unix.PARMRK) {
		t.in.put(c, 0)
	}
	t.in.put(c, 0)
}

// noteCanonColumn remembers where on the screen the line begins, for erasing tabs.
func (t *Terminal) noteCanonColumn() {
	if t.in.head == t.in.canon {
		t.canonColumn = t.column
	}
}

// signalChar is what ^C, ^\ and ^Z do.
func (t *Terminal) signalChar(c byte, nr int32, s *signals) {
	s.add(t.foreground, nr)
	if !t.termios.l(unix.NOFLSH) {
		t.flushInput()
		t.flushOutput()
	}
	if t.termios.i(unix.IXON) {
		t.start()
	}
	if t.termios.l(unix.ECHO) {
		t.echoChar(c)
	}
}

// edit handles the characters that have a meaning in canonical mode, and says whether c
// was one.
func (t *Terminal) edit(c byte) bool {
	o := &t.termios
	ext := o.l(unix.IEXTEN)
	switch {
	case o.is(c, unix.VERASE):
		t.erase(eraseChar)
	case o.is(c, unix.VKILL):
		t.erase(eraseLine)
	case ext && o.is(c, unix.VWERASE):
		t.erase(eraseWord)
	case ext && o.is(c, unix.VLNEXT):
		t.literal = true
		if o.l(unix.ECHO) {
			t.finishErasing()
			if o.l(unix.ECHOCTL) {
				t.echoRaw('^')
				t.echoRaw('\b')
			}
		}
	case ext && o.l(unix.ECHO) && o.is(c, unix.VREPRINT):
		t.finishErasing()
		t.echoChar(c)
		t.echoRaw('\n')
		for p := t.in.canon; p != t.in.head; p++ {
			t.echoChar(t.in.at(p))
		}
	case c == '\n':
		if o.l(unix.ECHO) || o.l(unix.ECHONL) {
			t.echoRaw('\n')
		}
		t.endLine(c, markLine)
	case o.is(c, unix.VEOF):
		t.endLine(disabled, markLine|markEOF)
	case o.is(c, unix.VEOL), ext && o.is(c, unix.VEOL2):
		if o.l(unix.ECHO) {
			t.noteCanonColumn()
			t.echoChar(c)
		}
		if c == 0xff && o.i(unix.PARMRK) {
			t.in.put(c, 0)
		}
		t.endLine(c, markLine)
	default:
		return false
	}
	return true
}

func (t *Terminal) endLine(c byte, mark uint8) {
	t.in.put(c, mark)
	t.in.commit()
}

// What erase erases.
const (
	eraseChar = iota
	eraseWord
	eraseLine
)

// alnum says whether VWERASE takes c for part of a word; like Linux by ISO 8859-1, whatever
// the character set, so that letters in UTF-8 are found by their first byte.
func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' ||
		c >= 0xc0 && c != 0xd7 && c != 0xf7
}

// erase takes the last character, word or all of the line being edited, and makes it vanish
// from the screen.
func (t *Terminal) erase(what int) {
	o, in := &t.termios, &t.in
	if in.head == in.canon {
		return
	}
	if what == eraseLine {
		if !o.l(unix.ECHO) {
			in.head = in.canon
			return
		}
		if !o.l(unix.ECHOK) || !o.l(unix.ECHOKE) || !o.l(unix.ECHOE) {
			in.head = in.canon
			t.finishErasing()
			t.echoChar(o.Cc[unix.VKILL])
			if o.l(unix.ECHOK) {
				t.echoRaw('\n')
			}
			return
		}
	}
	seenWord := false
	for in.head != in.canon {
		// One character, all its bytes.
		head := in.head - 1
		for t.continuation(in.at(head)) && head != in.canon {
			head--
		}
		c := in.at(head)
		if t.continuation(c) {
			break // the line begins in the middle of a character
		}
		if what == eraseWord {
			if alnum(c) {
				seenWord = true
			} else if seenWord {
				break
			}
		}
		from, to := head, in.head
		in.head = head
		if o.l(unix.ECHO) {
			t.unecho(what, c, from, to)
		}
		if what == eraseChar {
			break
		}
	}
	if in.head == in.canon && o.l(unix.ECHO) {
		t.finishErasing()
	}
}

// unecho shows that the character c, bytes [from, to) of the ring, was erased.
func (t *Terminal) unecho(what int, c byte, from, to uint64) {
	o := &t.termios
	switch {
	case o.l(unix.ECHOPRT):
		if !t.erasing {
			t.echoRaw('\\')
			t.erasing = true
		}
		t.echoChar(c)
		for p := from + 1; p < to; p++ {
			t.echoRaw(t.in.at(p))
		}
	case what == eraseChar && !o.l(unix.ECHOE):
		t.echoChar(o.Cc[unix.VERASE])
	case c == '\t':
		// How far did the tab jump? Count the columns behind the tab before it, or
		// behind the place where the line begins.
		columns, afterTab := 0, false
		for p := t.in.head; p != t.in.canon; {
			p--
			if c := t.in.at(p); c == '\t' {
				afterTab = true
				break
			} else if isControl(c) {
				if o.l(unix.ECHOCTL) {
					columns += 2
				}
			} else if !t.continuation(c) {
				columns++
			}
		}
		if !afterTab {
			columns += t.canonColumn
		}
		t.echoBack(8 - columns%8)
	default:
		if isControl(c) && o.l(unix.ECHOCTL) {
			t.echoErase()
		}
		if !isControl(c) || o.l(unix.ECHOCTL) {
			t.echoErase()
		}
	}
}
