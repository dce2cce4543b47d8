package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A report is everything that a run found out, as bench.json has it.
type report struct {
	Date     time.Time
	Kernel   string
	CPU      string
	CPUs     int
	Load     string // of the machine before the run, as in /proc/loadavg
	Targets  []string
	Tables   []*table
	Failures []string `json:",omitempty"` // what did not run
}

// A table is the result of one part: a row a metric, a cell a target.
type table struct {
	Name  string
	Title string
	Unit  string
	Base  string  // the target that ratios are to
	More  bool    `json:",omitempty"` // is better
	Took  float64 // seconds
	Rows  []*row
}

type row struct {
	Name  string
	Unit  string  // the table's, unless set
	Aim   float64 `json:",omitempty"` // what ours is to stay below
	Cells map[string]*cell
}

// A cell is what one target gave.
type cell struct {
	Value   float64 // median of the samples
	Best    float64 `json:",omitempty"` // the least that any round of any pass took
	Samples []float64
	Error   string `json:",omitempty"`
}

// row finds a row or adds it at the end.
func (t *table) row(name string) *row {
	for _, r := range t.Rows {
		if r.Name == name {
			return r
		}
	}
	r := &row{Name: name, Unit: t.Unit, Cells: map[string]*cell{}}
	t.Rows = append(t.Rows, r)
	return r
}

func (r *row) cell(target string) *cell {
	c := r.Cells[target]
	if c == nil {
		c = &cell{}
		r.Cells[target] = c
	}
	return c
}

// add adds a sample and the best that it is made of, 0 if there is no such thing.
func (c *cell) add(v, best float64) {
	c.Samples = append(c.Samples, v)
	sorted := slices.Sorted(slices.Values(c.Samples))
	c.Value = (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
	if c.Best == 0 || best < c.Best {
		c.Best = best
	}
}

// ratio is how a target compares with the base, 0 where that cannot be said.
func (t *table) ratio(r *row, target string) float64 {
	c, b := r.Cells[target], r.Cells[t.Base]
	if c == nil || b == nil || c.Error != "" || b.Error != "" || b.Value == 0 {
		return 0
	}
	return c.Value / b.Value
}

// targets lists those of order that the table has.
func (t *table) targets(order []string) []string {
	return slices.DeleteFunc(slices.Clone(order), func(name string) bool {
		return !slices.ContainsFunc(t.Rows, func(r *row) bool { return r.Cells[name] != nil })
	})
}

// describe notes what was measured where.
func (r *report) describe(targets []*target) {
	r.Date = time.Now().UTC().Truncate(time.Second)
	r.CPUs = runtime.NumCPU()
	for _, t := range targets {
		r.Targets = append(r.Targets, t.name)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		r.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	r.Load = strings.TrimSpace(firstLine("/proc/loadavg", ""))
	_, model, _ := strings.Cut(firstLine("/proc/cpuinfo", "model name"), ":")
	r.CPU = strings.TrimSpace(model)
}

// firstLine is the first line of a file that begins so.
func firstLine(path, prefix string) string {
	data, _ := os.ReadFile(path)
	for _, l := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

func (r *report) heading() string {
	return fmt.Sprintf("Linux %s, %d × %s, load %s", r.Kernel, r.CPUs, r.CPU, r.Load)
}

// write writes bench.json, with all tables until now, and the chart of the last.
func (r *report) write(dir string, last *table) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, last.Name+".svg"), chart(last, last.targets(r.Targets), r.heading()), 0o644)
}

// failed is an error if anything did not run.
func (r *report) failed() error {
	if len(r.Failures) == 0 {
		return nil
	}
	return fmt.Errorf("%d did not run:\n\t%s", len(r.Failures), strings.Join(r.Failures, "\n\t"))
}

// collectErrors makes failures of the cells that have no value.
func (b *bench) collectErrors(t *table) {
	for _, r := range t.Rows {
		for _, tg := range b.all() {
			if c := r.Cells[tg.name]; c != nil && c.Error != "" {
				b.fail("%s, %s: %s", r.Name, tg.name, c.Error)
			}
		}
	}
}

// print writes the table as text. A value of ours above its aim is marked.
func (t *table) print(w io.Writer, order []string) {
	targets := t.targets(order)
	widest := 0
	for _, r := range t.Rows {
		widest = max(widest, len(r.Name)+len(r.unitIn(t)))
	}
	fmt.Fprintf(w, "%s (took %.0f s)\n%-*s", t.Title, t.Took, widest, "")
	for _, name := range targets {
		if name == t.Base {
			fmt.Fprintf(w, " %14s", name)
		} else {
			fmt.Fprintf(w, " %22s", name)
		}
	}
	hasAims := slices.ContainsFunc(t.Rows, func(r *row) bool { return r.Aim > 0 })
	if hasAims {
		fmt.Fprintf(w, " %12s", "aim")
	}
	fmt.Fprintln(w)
	marked := false
	for _, r := range t.Rows {
		fmt.Fprintf(w, "%-*s", widest, r.Name+r.unitIn(t))
		for _, name := range targets {
			mark := " "
			if r.above(name) {
				mark, marked = "*", true
			}
			fmt.Fprintf(w, " %13s%s", r.text(name), mark)
			if ratio := t.ratio(r, name); name != t.Base && ratio > 0 {
				fmt.Fprintf(w, " %6.2f×", ratio)
			} else if name != t.Base {
				fmt.Fprintf(w, " %7s", "")
			}
		}
		if r.Aim > 0 {
			fmt.Fprintf(w, " %12s", number(r.Aim))
		}
		fmt.Fprintln(w)
	}
	if marked {
		fmt.Fprintln(w, "* above the aim")
	}
}

// unitIn is the unit to show, where it is not that of the whole table.
func (r *row) unitIn(t *table) string {
	if r.Unit == t.Unit || r.Unit == "" {
		return ""
	}
	return ", " + r.Unit
}

// above tells whether a target of ours has missed the aim.
func (r *row) above(target string) bool {
	c := r.Cells[target]
	return c != nil && strings.HasPrefix(target, oursPrefix) && r.Aim > 0 && c.Value > r.Aim
}

// text is a cell's value for people.
func (r *row) text(target string) string {
	switch c := r.Cells[target]; {
	case c == nil:
		return ""
	case c.Error != "":
		return "failed"
	default:
		return number(c.Value)
	}
}

// number shows three digits at least, and no more decimals than that takes.
func number(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
