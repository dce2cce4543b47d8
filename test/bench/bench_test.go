package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestKnownPlatforms(t *testing.T) {
	flags := "  -panic-signal int\n    \tsignal (default -1)\n" +
		"  -platform string\n    \thow application code runs: systrap, ptrace or kvm (default: the fastest that works here)\n"
	if got, want := knownPlatforms(flags), []string{"systrap", "ptrace", "kvm"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := knownPlatforms("  -platforms string\n    \tnothing\n"); got != nil {
		t.Errorf("got %q from other flags", got)
	}
}

func TestAimsFollowNative(t *testing.T) {
	for _, tc := range []struct {
		aim          aim
		native, want float64
	}{
		{aim{most: 400}, 100, 400},
		{aim{most: 400}, 0, 400},
		{aim{over: 1000}, 250, 1250},
		{aim{times: 1.5}, 200, 300},
		{aim{times: 1.5}, 0, 0},
		{aim{over: 1000}, 0, 0},
	} {
		if got := tc.aim.limit(tc.native); got != tc.want {
			t.Errorf("%+v where native takes %v: got %v, want %v", tc.aim, tc.native, got, tc.want)
		}
	}
}

func TestParseLinesSkipsWhatIsCutOff(t *testing.T) {
	got := parseLines(`{"metric":"getpid","ns":102.4,"best":101.9,"rounds":9,"iters":10}
some noise
{"metric":"stat","error":"exit status 3: stat: \u0007"}
{"metric":"threads_8","ops_per_s":500.5,"ops":500,"seconds":1.0}
{"metric":"fork_wai`)
	want := []line{{Metric: "getpid", NS: 102.4, Best: 101.9}, {Metric: "stat", Error: "exit status 3: stat: \a"}, {Metric: "threads_8", OpsPerS: 500.5}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseMeasures(t *testing.T) {
	got := parseMeasures("measured tar 1.25\nmeasured untar\nother 3\nmeasured untar 0.5\n")
	if want := []measured{{"tar", 1.25}, {"untar", 0.5}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCellHasMedianAndBest(t *testing.T) {
	var c cell
	for i, tc := range []struct{ v, best, median, least float64 }{
		{5, 4, 5, 4}, {1, 1, 3, 1}, {9, 8, 5, 1}, {7, 7, 6, 1},
	} {
		c.add(tc.v, tc.best)
		if c.Value != tc.median || c.Best != tc.least {
			t.Errorf("after %d samples: median %v, best %v, want %v, %v", i+1, c.Value, c.Best, tc.median, tc.least)
		}
	}
}

// sample has a base that failed, a target that failed, one without a cell, and one above
// its aim.
func sample() (*table, []string) {
	t := &table{Name: "micro", Title: "a < b", Unit: "ns", Base: "native"}
	t.row("getpid").cell("native").add(100, 90)
	t.row("getpid").cell("runsc x").add(500, 450)
	t.row("getpid").Aim = 400
	t.row("stat").cell("native").Error = "died"
	t.row("stat").cell("runsc x").add(2000, 0)
	t.row("fork").cell("native").add(1000, 0)
	t.row("fork").cell("runc").Error = "killed"
	return t, []string{"native", "runc", "runsc x", "runsc absent"}
}

func TestPrintMarksWhatMissesItsAim(t *testing.T) {
	tab, order := sample()
	var b bytes.Buffer
	tab.print(&b, order)
	lines := strings.Split(b.String(), "\n")
	for i, want := range []string{
		"a < b (took 0 s)",
		"native runc runsc x aim",
		"getpid 100 500* 5.00× 400",
		"stat failed 2000",
		"fork 1000 failed",
		"* above the aim",
	} {
		if i >= len(lines) || strings.Join(strings.Fields(lines[i]), " ") != want {
			t.Fatalf("line %d: want %q in\n%s", i, want, b.String())
		}
	}
}

func TestChartIsXML(t *testing.T) {
	tab, order := sample()
	svg := chart(tab, tab.targets(order), "Linux & others")
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
	for _, want := range []string{"5.00× (500)", "no ratio: 2000", "no ratio: failed", "a &lt; b"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
}
