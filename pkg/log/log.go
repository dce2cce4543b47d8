// Package log writes leveled messages of runsc's processes to one or more sinks.
//
// A Sink turns a message into one line and writes it with a single write(2), so that
// several processes may append to one file (O_APPEND) without mixing their lines. Three
// line formats exist: Text for people, JSON in the shape that Docker and containerd parse
// ("level", "msg", "time"), and JSONK8s for log collectors of Kubernetes ("log" instead of
// "msg").
//
// A Logger has a level and sinks, each sink optionally with a level of its own: the
// ordinary log may be quiet while the debug log gets everything. The package functions
// (Debugf, Infof, Warningf, Errorf) use the process's logger, which says nothing until
// SetTarget is called. IsLogging is one atomic load, so that a caller may guard an
// expensive message:
//
//	if log.IsLogging(log.Debug) {
//		log.Debugf("mounts: %s", dump(mounts))
//	}
//
// A sink that cannot be written loses the message; logging never fails and never blocks on
// anything but the write itself. Locks: Sink.mu is a leaf and only guards the line buffer.
package log

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Level orders messages by how urgent they are; a higher value is chattier.
type Level uint32

// Levels. Off is only a threshold.
const (
	Off Level = iota
	Error
	Warning
	Info
	Debug
)

// String returns the name that the JSON formats use, logrus' names.
func (l Level) String() string {
	switch l {
	case Error:
		return "error"
	case Warning:
		return "warning"
	case Info:
		return "info"
	case Debug:
		return "debug"
	}
	return "off"
}

// ParseLevel is the inverse of String; it also takes the levels as numbers.
func ParseLevel(s string) (Level, error) {
	for l := Off; l <= Debug; l++ {
		if strings.EqualFold(s, l.String()) {
			return l, nil
		}
	}
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= int(Debug) {
		return Level(n), nil
	}
	return Off, fmt.Errorf("invalid log level %q, want off, error, warning, info or debug", s)
}

// Format is a line format.
type Format int

// Formats.
const (
	Text Format = iota
	JSON
	JSONK8s
)

// ParseFormat returns the format of a --log-format value.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "text", "":
		return Text, nil
	case "json":
		return JSON, nil
	case "json-k8s":
		return JSONK8s, nil
	}
	return Text, fmt.Errorf("invalid log format %q, want text, json or json-k8s", s)
}

// Sink formats messages and writes them, one write per message.
type Sink struct {
	w      io.Writer
	format Format
	level  Level

	mu  sync.Mutex // guards buf
	buf []byte
}

// NewSink returns a sink that writes messages up to level to w.
func NewSink(w io.Writer, format Format, level Level) *Sink {
	return &Sink{w: w, format: format, level: level}
}

// pid is asked for once; a process does not change its id.
var pid = os.Getpid()

// emit writes one message; file and line are where it was logged.
func (s *Sink) emit(level Level, now time.Time, file string, line int, msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buf[:0]
	switch s.format {
	case Text:
		b = append(b, "?EWID"[level])
		b = now.AppendFormat(b, "0102 15:04:05.000000")
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(pid), 10)
		if file != "" {
			b = append(b, ' ')
			b = append(b, file...)
			b = append(b, ':')
			b = strconv.AppendInt(b, int64(line), 10)
		}
		b = append(b, "] "...)
		b = append(b, strings.TrimRight(msg, "\n")...)
	case JSON, JSONK8s:
		key := `{"msg":`
		if s.format == JSONK8s {
			key = `{"log":`
		}
		b = append(b, key...)
		b = appendJSONString(b, msg)
		b = append(b, `,"level":"`...)
		b = append(b, level.String()...)
		b = append(b, `","time":"`...)
		b = now.AppendFormat(b, time.RFC3339Nano)
		b = append(b, `"}`...)
	}
	b = append(b, '\n')
	s.w.Write(b)
	s.buf = b
	if cap(b) > 64<<10 {
		s.buf = nil // one huge message does not keep its memory
	}
}

// appendJSONString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < 0x20 || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

// Logger sends messages to its sinks. The zero Logger says nothing.
type Logger struct {
	level atomic.Uint32 // the chattiest level any sink wants
	sinks atomic.Pointer[[]*Sink]
}

// std is the process's logger: the one exception to "no globals", because a message about
// anything must be possible from anywhere.
var std Logger

// SetTarget replaces the sinks of the process's logger.
func SetTarget(sinks ...*Sink) { std.SetTarget(sinks...) }

// SetTarget replaces the sinks.
func (l *Logger) SetTarget(sinks ...*Sink) {
	var max Level
	for _, s := range sinks {
		if s.level > max {
			max = s.level
		}
	}
	l.sinks.Store(&sinks)
	l.level.Store(uint32(max))
}

// SetLevel changes the level of every sink of the process's logger from now on.
func SetLevel(level Level) {
	old := std.sinks.Load()
	if old == nil {
		return
	}
	var sinks []*Sink
	for _, s := range *old {
		sinks = append(sinks, NewSink(s.w, s.format, level))
	}
	std.SetTarget(sinks...)
}

// IsLogging says whether a message of the level would go anywhere.
func IsLogging(level Level) bool { return uint32(level) <= std.level.Load() }

// Logf sends a message; depth is the number of stack frames to skip for the source line,
// 0 meaning the caller of Logf.
func (l *Logger) Logf(depth int, level Level, format string, args ...any) {
	if uint32(level) > l.level.Load() {
		return
	}
	sinks := l.sinks.Load()
	if sinks == nil {
		return
	}
	msg := format
	if len(args) > 0 {
		msg = fmt.Sprintf(format, args...)
	}
	now := time.Now()
	_, file, line, ok := runtime.Caller(depth + 1)
	if ok {
		file = filepath.Base(file)
	}
	for _, s := range *sinks {
		if level <= s.level {
			s.emit(level, now, file, line, msg)
		}
	}
}

// Debugf logs what only a developer wants to know.
func Debugf(format string, args ...any) {
	if IsLogging(Debug) {
		std.Logf(1, Debug, format, args...)
	}
}

// Infof logs a step of the normal course.
func Infof(format string, args ...any) {
	if IsLogging(Info) {
		std.Logf(1, Info, format, args...)
	}
}

// Warningf logs what an operator should look at, though the process goes on.
func Warningf(format string, args ...any) {
	if IsLogging(Warning) {
		std.Logf(1, Warning, format, args...)
	}
}

// Errorf logs a failure. Docker shows messages of this level to its user.
func Errorf(format string, args ...any) {
	if IsLogging(Error) {
		std.Logf(1, Error, format, args...)
	}
}

// Stacks returns the stacks of all goroutines, cut at limit bytes.
func Stacks(limit int) string {
	for size := 64 << 10; ; size *= 2 {
		if size > limit {
			size = limit
		}
		buf := make([]byte, size)
		n := runtime.Stack(buf, true)
		if n < size || size == limit {
			return string(buf[:n])
		}
	}
}
