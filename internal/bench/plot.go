// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A plot has a panel for each kind of work that was measured at more than one
// size: time against tasks, both axes logarithmic.
const (
	panelWidth, panelHeight = 420.0, 320.0
	left, right, top, under = 56.0, 28.0, 34.0, 40.0
	legendLine              = 16.0
)

// colours can be told apart by those who see fewer, too (Okabe and Ito).
var colours = []string{"#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"}

type point struct{ x, y, least, most float64 }

type series struct {
	name   string
	points []point
}

type panel struct {
	title  string
	series []series
}

// panels collects rows whose names differ in their last part only, the size.
func (r *Report) panels() []panel {
	var all []panel
	at := make(map[string]int)
	for _, row := range r.Rows {
		kind, last, ok := cutLast(row.Name)
		if n, err := strconv.Atoi(last); !ok || err != nil || n != row.Size {
			continue
		}
		i, ok := at[kind]
		if !ok {
			i = len(all)
			at[kind] = i
			all = append(all, panel{title: kind})
		}
		p := &all[i]
		for _, e := range row.Entries {
			if e.Time == nil {
				continue
			}
			k := slices.IndexFunc(p.series, func(s series) bool { return s.name == e.Name })
			if k < 0 {
				k = len(p.series)
				p.series = append(p.series, series{name: e.Name})
			}
			p.series[k].points = append(p.series[k].points, point{float64(row.Size), e.Time.Median, e.Time.Least, e.Time.Most})
		}
	}
	return slices.DeleteFunc(all, func(p panel) bool {
		return !slices.ContainsFunc(p.series, func(s series) bool { return len(s.points) > 1 })
	})
}

func cutLast(name string) (kind, last string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

var errNoPlot = errors.New("nothing to plot: no work was measured at two sizes")

func (r *Report) plot(w io.Writer) error {
	panels := r.panels()
	if len(panels) == 0 {
		return errNoPlot
	}
	columns := min(2, len(panels))
	legend := 0
	for _, p := range panels {
		legend = max(legend, len(p.series))
	}
	height := panelHeight + float64(legend+1)*legendLine
	rows := (len(panels) + columns - 1) / columns
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="11">`+"\n",
		panelWidth*float64(columns), height*float64(rows)+20)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="14">pidgraft %s, %d × %s, Linux %s: medians of %d, least to most</text>`+"\n",
		html.EscapeString(r.Machine.Version), r.Machine.Processors, html.EscapeString(r.Machine.CPU), html.EscapeString(r.Machine.Kernel), r.Rounds)
	for i, p := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%.0f %.0f)">`+"\n", panelWidth*float64(i%columns), 20+height*float64(i/columns))
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// decades are the powers of ten around values.
func decades(least, most float64) (from, to float64) {
	from, to = math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if from == to {
		to++
	}
	return from, to
}

func (p *panel) draw(b *strings.Builder) {
	minX, maxX, minY, maxY := math.Inf(1), 0., math.Inf(1), 0.
	for _, s := range p.series {
		for _, q := range s.points {
			minX, maxX = min(minX, q.x), max(maxX, q.x)
			minY, maxY = min(minY, q.least), max(maxY, q.most)
		}
	}
	x0, x1 := decades(minX, maxX)
	y0, y1 := decades(minY, maxY)
	x := func(v float64) float64 { return left + (math.Log10(v)-x0)/(x1-x0)*(panelWidth-left-right) }
	y := func(v float64) float64 {
		return panelHeight - under - (math.Log10(v)-y0)/(y1-y0)*(panelHeight-top-under)
	}
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-size="13" font-weight="bold">%s</text>`+"\n", left, top-12, html.EscapeString(p.title))
	for e := x0; e <= x1; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n",
			x(v), top, panelHeight-under, x(v), panelHeight-under+14, number(v))
	}
	for e := y0; e <= y1; e++ {
		v := math.Pow(10, e)
		fmt.Fprintf(b, `<path d="M%.1f %.1fH%.1f" stroke="#ddd"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y(v), panelWidth-right, left-4, y(v)+4, number(v))
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">tasks</text><text transform="translate(12 %.1f) rotate(-90)" text-anchor="middle">ms</text>`+"\n",
		(left+panelWidth-right)/2, panelHeight-under+30, (top+panelHeight-under)/2)
	for i, s := range p.series {
		colour := colours[i%len(colours)]
		var d strings.Builder
		for k, q := range s.points {
			fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(k, 1)], x(q.x), y(q.y))
			fmt.Fprintf(b, `<path d="M%.1f %.1fV%.1f" stroke="%s"/><circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n",
				x(q.x), y(q.least), y(q.most), colour, x(q.x), y(q.y), colour)
		}
		line := panelHeight + legendLine*(float64(i)+0.75)
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/><path d="M%.1f %.1fh18" stroke="%s" stroke-width="2"/><text x="%.1f" y="%.1f">%s</text>`+"\n",
			d.String(), colour, left, line-4, colour, left+24, line, html.EscapeString(s.name))
	}
}
