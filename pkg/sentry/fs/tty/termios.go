package tty

import (
	"golang.org/x/sys/unix"
)

// Termios is the kernel's struct termios2; struct termios is the same without the speeds.
type Termios struct {
	Iflag, Oflag, Cflag, Lflag uint32
	Line                       uint8
	Cc                         [19]uint8
	Ispeed, Ospeed             uint32
}

// Sizes of what TCGETS, TCGETS2 and TCGETA copy, in bytes.
const (
	sizeofTermios  = 36
	sizeofTermios2 = 44
	sizeofTermio   = 18
	termioCc       = 8 // control characters of the old struct termio
)

// disabled is the value of a control character that is switched off (_POSIX_VDISABLE).
const disabled = 0

// Flags that x/sys/unix lacks.
const (
	xtabs   = 0o14000
	bother  = 0o10000
	cbaud   = 0o10017
	ibshift = 16
)

// defaultTermios is what a terminal starts with.
func defaultTermios() Termios {
	t := Termios{
		Iflag: unix.ICRNL | unix.IXON,
		Oflag: unix.OPOST | unix.ONLCR,
		Cflag: unix.B38400 | unix.CS8 | unix.CREAD,
		Lflag: unix.ISIG | unix.ICANON | unix.ECHO | unix.ECHOE | unix.ECHOK | unix.ECHOCTL |
			unix.ECHOKE | unix.IEXTEN,
		Ispeed: 38400, Ospeed: 38400,
	}
	for i, c := range map[int]uint8{
		unix.VINTR: 3, unix.VQUIT: 0x1c, unix.VERASE: 0x7f, unix.VKILL: 0x15, unix.VEOF: 4,
		unix.VMIN: 1, unix.VSTART: 0x11, unix.VSTOP: 0x13, unix.VSUSP: 0x1a,
		unix.VREPRINT: 0x12, unix.VDISCARD: 0x0f, unix.VWERASE: 0x17, unix.VLNEXT: 0x16,
	} {
		t.Cc[i] = c
	}
	return t
}

// speeds are the rates of the B* codes.
var speeds = map[uint32]uint32{
	unix.B0: 0, unix.B50: 50, unix.B75: 75, unix.B110: 110, unix.B134: 134, unix.B150: 150,
	unix.B200: 200, unix.B300: 300, unix.B600: 600, unix.B1200: 1200, unix.B1800: 1800,
	unix.B2400: 2400, unix.B4800: 4800, unix.B9600: 9600, unix.B19200: 19200,
	unix.B38400: 38400, unix.B57600: 57600, unix.B115200: 115200, unix.B230400: 230400,
	unix.B460800: 460800, unix.B500000: 500000, unix.B576000: 576000, unix.B921600: 921600,
	unix.B1000000: 1000000, unix.B1152000: 1152000, unix.B1500000: 1500000,
	unix.B2000000: 2000000, unix.B2500000: 2500000, unix.B3000000: 3000000,
	unix.B3500000: 3500000, unix.B4000000: 4000000,
}

// setSpeeds fills in the speeds from the codes in Cflag, unless they say that the fields hold
// them (BOTHER).
func (t *Termios) setSpeeds() {
	out := t.Cflag & cbaud
	if out != bother {
		t.Ospeed = speeds[out]
	}
	switch in := t.Cflag >> ibshift & cbaud; {
	case in == 0:
		t.Ispeed = t.Ospeed
	case in != bother:
		t.Ispeed = speeds[in]
	}
}

func (t *Termios) i(f uint32) bool { return t.Iflag&f != 0 }
func (t *Termios) o(f uint32) bool { return t.Oflag&f != 0 }
func (t *Termios) l(f uint32) bool { return t.Lflag&f != 0 }

// is says whether c is the control character of that index, and it is not switched off.
func (t *Termios) is(c byte, index int) bool { return c != disabled && c == t.Cc[index] }

// MakeRaw switches off every treatment of bytes, as cfmakeraw(3) does.
func (t *Termios) MakeRaw() {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// WindowSize is struct winsize.
type WindowSize struct{ Rows, Columns, XPixel, YPixel uint16 }
