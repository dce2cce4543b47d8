package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// The measures of a chart in pixels.
const (
	chartLabels = 170 // the column of the metrics' names
	chartBars   = 520 // the widest bar
	chartNotes  = 150 // room for the numbers behind a bar
	chartBar    = 11  // height of a bar
	chartGap    = 7   // between metrics
	chartHead   = 64
)

var chartColours = []string{"#7f8c8d", "#2471a3", "#ca6f1e", "#1e8449", "#7d3c98"}

// chart draws the ratios of a table to its base as bars from 1× on a logarithmic scale, in
// SVG: one group a metric, one bar a target.
func chart(t *table, targets []string, heading string) []byte {
	targets = slices.DeleteFunc(slices.Clone(targets), func(n string) bool { return n == t.Base })
	low, high := 1.0, 1.0
	for _, r := range t.Rows {
		for _, n := range targets {
			if v := t.ratio(r, n); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	// Whole powers of ten around all of them, one at least.
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	if to == from {
		to++
	}
	x := func(ratio float64) float64 {
		return chartLabels + chartBars*(math.Log10(ratio)-from)/(to-from)
	}
	group := len(targets)*chartBar + chartGap
	width, height := chartLabels+chartBars+chartNotes, chartHead+len(t.Rows)*group+chartGap

	var b bytes.Buffer
	text := func(x float64, y int, style, s string) {
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"%d\" %s>%s</text>\n", x, y, style, html.EscapeString(s))
	}
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"10\">\n", width, height)
	fmt.Fprintf(&b, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n")
	better := "less is better"
	if t.More {
		better = "more is better"
	}
	text(8, 16, `font-size="13" font-weight="bold"`, fmt.Sprintf("%s: ratio to %s (%s)", t.Title, t.Base, better))
	text(8, 30, `fill="#555"`, heading)
	for i, n := range targets {
		fmt.Fprintf(&b, "<rect x=\"%d\" y=\"37\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", 8+i*130, chartColours[i%len(chartColours)])
		text(float64(22+i*130), 46, "", n)
	}
	for e := from; e <= to; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(&b, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/>\n", at, chartHead-4, at, height)
		text(at, chartHead-6, `text-anchor="middle" fill="#555"`, fmt.Sprintf("%g×", math.Pow(10, e)))
	}
	for i, r := range t.Rows {
		top := chartHead + i*group
		text(chartLabels-6, top+(group-chartGap)/2+3, `text-anchor="end"`, r.Name+r.unitIn(t))
		for k, n := range targets {
			y := top + k*chartBar
			if r.Cells[n] == nil {
				continue
			}
			ratio := t.ratio(r, n)
			if ratio == 0 {
				text(x(1)+4, y+9, `fill="#c0392b"`, "no ratio: "+r.text(n))
				continue
			}
			left, right := min(x(1), x(ratio)), max(x(1), x(ratio))
			fmt.Fprintf(&b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", left, y, max(right-left, 1), chartBar-1, chartColours[k%len(chartColours)])
			text(right+4, y+9, `fill="#333"`, fmt.Sprintf("%.2f× (%s)", ratio, r.text(n)))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
