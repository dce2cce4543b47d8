package log

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFormats(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 7000, time.UTC)
	msg := "a \"quoted\"\nline\x01\xff"
	for _, tc := range []struct {
		format Format
		key    string
	}{{JSON, "msg"}, {JSONK8s, "log"}} {
		var b bytes.Buffer
		NewSink(&b, tc.format, Debug).emit(Error, now, "x.go", 3, msg)
		var m map[string]string
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatalf("format %d: %q: %v", tc.format, b.String(), err)
		}
		if m["level"] != "error" || m[tc.key] != "a \"quoted\"\nline\x01\ufffd" || m["time"] != "2026-02-03T04:05:06.000007Z" {
			t.Errorf("format %d: got %v", tc.format, m)
		}
		if strings.Count(b.String(), "\n") != 1 {
			t.Errorf("format %d: not one line: %q", tc.format, b.String())
		}
	}
	var b bytes.Buffer
	NewSink(&b, Text, Debug).emit(Warning, now, "x.go", 3, "hello\n")
	if got := b.String(); !strings.HasPrefix(got, "W0203 04:05:06.000007 ") || !strings.HasSuffix(got, " x.go:3] hello\n") {
		t.Errorf("text: got %q", got)
	}
}

func TestSinkLevels(t *testing.T) {
	var quiet, chatty bytes.Buffer
	var l Logger
	l.Logf(0, Error, "nobody listens")
	l.SetTarget(NewSink(&quiet, Text, Warning), NewSink(&chatty, Text, Debug))
	l.Logf(0, Debug, "detail %d", 1)
	l.Logf(0, Warning, "quite sure")
	if strings.Contains(quiet.String(), "detail") || !strings.Contains(quiet.String(), "quite sure") {
		t.Errorf("quiet sink: %q", quiet.String())
	}
	if !strings.Contains(chatty.String(), "detail 1") || !strings.Contains(chatty.String(), "log_test.go") {
		t.Errorf("chatty sink: %q", chatty.String())
	}
}

type countWriter struct {
	mu    sync.Mutex
	lines int
	bad   int
}

func (c *countWriter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines++
	if bytes.Count(p, []byte("\n")) != 1 || !bytes.HasSuffix(p, []byte("\n")) {
		c.bad++
	}
	return len(p), nil
}

func TestOneWritePerMessage(t *testing.T) {
	var c countWriter
	var l Logger
	l.SetTarget(NewSink(&c, JSON, Info))
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				l.Logf(0, Info, "message %d", i)
			}
		}()
	}
	wg.Wait()
	if c.lines != 800 || c.bad != 0 {
		t.Errorf("got %d writes, %d of them not whole lines", c.lines, c.bad)
	}
}

func TestParse(t *testing.T) {
	for _, l := range []Level{Off, Error, Warning, Info, Debug} {
		if got, err := ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("ParseLevel(%v) = %v, %v", l, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("ParseLevel accepts nonsense")
	}
	if _, err := ParseFormat("xml"); err == nil {
		t.Error("ParseFormat accepts nonsense")
	}
}

func BenchmarkDebugfOff(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Debugf("x")
	}
}
