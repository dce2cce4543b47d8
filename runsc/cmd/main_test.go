package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDebugLogName(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for pattern, want := range map[string]string{
		"/d/":                           "/d/runsc.log.20260102-030405.000006.boot.txt",
		"/d/%ID%/%COMMAND%.log":         "/d/c1/boot.log",
		"/d/x":                          "/d/x",
		"/d/%TIMESTAMP%-%ID%-%UNKNOWN%": "/d/20260102-030405.000006-c1-%UNKNOWN%",
	} {
		if got := debugLogName(pattern, "boot", "c1", now); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
	if got := debugLogName("/d/%ID%", "", "../../x", now); strings.Count(got, "/") != 2 {
		t.Errorf("an id leads out: %s", got)
	}
}

func TestGuessID(t *testing.T) {
	for args, want := range map[string]string{
		"create --bundle /b -pid-file p --no-pivot c1": "c1",
		"create --bundle=/b c1":                        "c1",
		"exec -t -e A=B --user 1:1 c1 ls -l":           "c1",
		"delete -f c1":                                 "c1",
		"list -f json":                                 "",
		"state":                                        "",
	} {
		if got := guessID(strings.Fields(args)); got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]unix.Signal{
		"9": 9, "KILL": 9, "sigkill": 9, "SIGTERM": 15, "Hup": 1, "0": 0, "64": 64,
		"RTMIN": 34, "SIGRTMIN+3": 37, "RTMAX-2": 62, "rtmax": 64,
	} {
		if got, err := parseSignal(s); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "65", "-1", "BOGUS", "RTMIN-1", "RTMAX+1", "RTMIN+99", "9x"} {
		if got, err := parseSignal(s); err == nil {
			t.Errorf("%q accepted as %d", s, got)
		}
	}
}

func TestExecFlagParsing(t *testing.T) {
	env, err := mergeEnv([]string{"A=1", "B=2"}, []string{"B=3", "C=4", "A="})
	if err != nil || !reflect.DeepEqual(env, []string{"A=", "B=3", "C=4"}) {
		t.Errorf("env = %v, %v", env, err)
	}
	for _, bad := range []string{"", "A", "=x", "A=\x00"} {
		if _, err := mergeEnv(nil, []string{bad}); err == nil {
			t.Errorf("env %q accepted", bad)
		}
	}
	if u, g, err := parseUser("5", 7); u != 5 || g != 7 || err != nil {
		t.Errorf("5 = %d, %d, %v", u, g, err)
	}
	if u, g, err := parseUser("5:6", 7); u != 5 || g != 6 || err != nil {
		t.Errorf("5:6 = %d, %d, %v", u, g, err)
	}
	for _, bad := range []string{"root", "5:", ":5", "-1", "4294967296"} {
		if _, _, err := parseUser(bad, 0); err == nil {
			t.Errorf("user %q accepted", bad)
		}
	}
}

func TestFlagsMayFollowArguments(t *testing.T) {
	groups := []Group{{Commands: []Command{new(Delete), new(Kill), new(Create), new(Exec)}}}
	for in, want := range map[string]string{
		"delete x -f":               "delete -f -- x",
		"delete -f x":               "",
		"create x --bundle b -b=c":  "create --bundle b -b=c -- x",
		"kill x 9 --all":            "kill --all -- x 9",
		"exec x ls -l":              "",
		"delete x -- -f":            "",
		"bogus x -f":                "",
		"create x --bundle":         "create --bundle -- x",
		"delete x -f -- y --bundle": "delete -f -- x y --bundle",
	} {
		if got := strings.Join(flagsFirst(groups, strings.Fields(in)), " "); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestInstallKeepsTheRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d", "daemon.json")
	os.Mkdir(filepath.Dir(path), 0o755)
	os.WriteFile(path, []byte(`{"debug": true, "runtimes": {"other": {"path": "/x", "options": {"a": 1}}}}`), 0o600)
	add := func(m map[string]json.RawMessage) error { m["runsc"] = json.RawMessage(`{"path":"/r"}`); return nil }
	for range 2 { // twice makes no difference
		if err := editDockerConfig(path, add); err != nil {
			t.Fatal(err)
		}
	}
	var got struct {
		Debug    bool
		Runtimes map[string]map[string]any
	}
	data, _ := os.ReadFile(path)
	if err := json.Unmarshal(data, &got); err != nil || !got.Debug || got.Runtimes["runsc"]["path"] != "/r" || got.Runtimes["other"]["options"] == nil {
		t.Errorf("%s, %v", data, err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	os.WriteFile(path, []byte("{broken"), 0o600)
	if err := editDockerConfig(path, add); err == nil {
		t.Error("a broken file was overwritten")
	}
	if data, _ := os.ReadFile(path); string(data) != "{broken" {
		t.Errorf("broken file became %q", data)
	}
}
