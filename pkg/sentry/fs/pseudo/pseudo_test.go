package pseudo

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var ctx = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// counter generates a text that is another one each time.
type counter struct{ n int }

func (c *counter) Generate(_ context.Context, b *bytes.Buffer) error {
	c.n++
	fmt.Fprintf(b, "text %d", c.n)
	return nil
}

func TestTextIsReadFromOneSnapshot(t *testing.T) {
	f, err := NewTextFile(ctx, &counter{}, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	read := func(offset int64) string {
		b := make([]byte, 3)
		n, err := f.Read(ctx, usermem.BytesSequence(b), offset)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if got := read(0) + read(3) + read(6); got != "text 1" {
		t.Errorf("in pieces: %q", got)
	}
	if got := read(0) + read(3); got != "text 2" {
		t.Errorf("from the beginning again: %q", got)
	}
	if _, _, err := f.Write(ctx, usermem.BytesSequence([]byte("x")), 0, false); err == nil {
		t.Error("a text without Set is written to")
	}
	if _, err := f.Seek(ctx, 0, unix.SEEK_END, 0); err != unix.EINVAL {
		t.Errorf("SEEK_END: %v", err)
	}
}

// changing is a directory in which names come and go.
type changing struct{ names []int64 }

func (c *changing) InodeNumber() uint64 { return 1 }
func (c *changing) Entries(context.Context) ([]Entry, error) {
	var out []Entry
	for _, n := range c.names {
		out = append(out, Entry{Name: fmt.Sprint(n), Cookie: n})
	}
	return out, nil
}

// limited takes a few entries.
type limited struct {
	names []string
	room  int
}

func (l *limited) Add(d vfs.Dirent) bool {
	if l.room == 0 {
		return false
	}
	l.room--
	l.names = append(l.names, d.Name)
	return true
}

func TestDirectoriesAreListedInPieces(t *testing.T) {
	c := &changing{[]int64{10, 20, 30, 40}}
	f := NewDirFile(c)
	var all []string
	offset := int64(0)
	for range 10 {
		l := &limited{room: 1}
		next, err := f.IterDirents(ctx, offset, l)
		if err != nil {
			t.Fatal(err)
		}
		all, offset = append(all, l.names...), next
	}
	if got := strings.Join(all, " "); got != ". .. 10 20 30 40" {
		t.Errorf("%q", got)
	}
	// A reader that goes back sees what is there now; one that continues, what was.
	c.names = []int64{20, 50}
	l := &limited{room: 10}
	f.IterDirents(ctx, 21, l)
	if got := strings.Join(l.names, " "); got != "30 40" {
		t.Errorf("continued: %q", got)
	}
	l = &limited{room: 10}
	f.IterDirents(ctx, 0, l)
	if got := strings.Join(l.names, " "); got != ". .. 20 50" {
		t.Errorf("from the beginning: %q", got)
	}
}
