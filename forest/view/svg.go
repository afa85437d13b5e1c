// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"unicode/utf8"

	"github.com/pidgraft/pidgraft/forest"
)

// Lengths of an SVG, in its user units (pixels).
const (
	svgRow    = 20
	svgIndent = 18
	svgChar   = 7.3 // of the font at 12 pixels, rather more than less
	svgMargin = 16
	svgPad    = 5 // below the last row of a box
	svgLane   = 5 // a lane of session or group
)

// SVG writes f as a drawing: a row for each task in the order of Tree, each pid
// namespace a box around the rows of those who live in it, and beside them two
// lanes, session and group, whose colour changes where those do. It needs
// nothing from elsewhere and follows the reader's choice of a light or dark
// screen.
func SVG(w io.Writer, f *forest.Forest) error {
	s := &svg{outline: newOutline(f), w: bufio.NewWriter(w), colors: newPalette(f)}
	s.layout()
	s.draw()
	return s.w.Flush()
}

type svg struct {
	outline
	w      *bufio.Writer
	colors *palette

	rows  []svgLine
	boxes []svgBox
	width float64 // of the widest row
	depth float64 // of all rows, with what is between them
	lanes [2]int  // width of the columns of numbers, in characters
}

type svgLine struct {
	node   node
	indent int
	y      float64 // of its top, from that of the first
	text   string  // that of a namespace
}

// svgBox is a namespace, from top to bottom, nested depth deep in others.
type svgBox struct {
	ns, indent, depth int
	top, bottom       float64
}

// layout finds each row and box.
func (s *svg) layout() {
	var open []int
	deepest := 0
	s.walk(func(n node, last []bool) {
		line := svgLine{node: n, indent: min(len(last)-1, maxIndent), y: s.depth}
		if n.ns != forest.None {
			line.text = s.space(n.ns)
			open = append(open, len(s.boxes))
			deepest = max(deepest, len(open))
			s.boxes = append(s.boxes, svgBox{ns: n.ns, indent: line.indent, depth: len(open) - 1, top: s.depth})
		}
		s.rows = append(s.rows, line)
		s.depth += svgRow
		s.measure(&line)
	}, func(n node) {
		if n.ns != forest.None {
			s.boxes[open[len(open)-1]].bottom = s.depth
			s.depth += svgPad
			open = open[:len(open)-1]
		}
	})
	s.width += float64(deepest) * 2 * 4
}

func (s *svg) measure(line *svgLine) {
	chars := utf8.RuneCountInString(line.text)
	if line.node.ns == forest.None {
		k := &s.f.Tasks[line.node.task]
		chars = utf8.RuneCountInString(s.numbers(k) + " " + forest.Escape(k.Comm) + "   " + s.notes(k))
		s.lanes[0] = max(s.lanes[0], len(number(s.f, s.x, k.SID)))
		s.lanes[1] = max(s.lanes[1], len(number(s.f, s.x, k.PGID)))
	}
	s.width = max(s.width, float64(line.indent*svgIndent)+float64(chars)*svgChar)
}

const svgStyle = `
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#1c2430;white-space:pre}
.sheet{fill:#fbfcfd}.box{fill:#3c6ea50d;stroke:#8aa2bf}.name{fill:#3d5a80;font-weight:600}.dim{fill:#5f6b7a}
.dead{fill:#a02c2c}.thread{fill:#0b6b74}.ghost{fill:#8a5a00}.num{font-weight:600}.head{font-weight:600;font-size:14px}
.branch{stroke:#a9b4c2;fill:none}
@media(prefers-color-scheme:dark){text{fill:#dde4ee}.sheet{fill:#12161c}.box{fill:#7fb0ff0d;stroke:#48607f}.name{fill:#9cc3f5}
.dim{fill:#98a4b3}.dead{fill:#ff8d85}.thread{fill:#5ccbd6}.ghost{fill:#e8b04a}.branch{stroke:#46505d}}
`

func (s *svg) draw() {
	f := s.f
	ghosts := s.x.Ghosts()
	heads := []string{title(f), taken(f)}
	for _, why := range f.Inexact {
		heads = append(heads, inexact(why))
	}
	sessionRight := svgMargin + svgLane + 7 + float64(max(s.lanes[0], len("SESSION")))*svgChar
	groupLane := sessionRight + 10
	groupRight := groupLane + svgLane + 7 + float64(max(s.lanes[1], len("GROUP")))*svgChar
	left := groupRight + 16
	top := float64(svgMargin + svgRow*(len(heads)+2))
	height := top + s.depth + svgMargin
	width := left + s.width + svgMargin
	for _, h := range heads {
		width = max(width, 2*svgMargin+float64(utf8.RuneCountInString(h))*svgChar*14/12)
	}
	var tail []string
	if len(ghosts) > 0 {
		tail = append(tail, "ghosts: numbers "+s.whyGhosts())
		for _, tag := range ghosts {
			tail = append(tail, fmt.Sprintf("%s: %s", f.TagName(tag), s.uses(tag)))
		}
		for _, t := range tail {
			width = max(width, 2*svgMargin+float64(utf8.RuneCountInString(t))*svgChar)
		}
		height += float64(svgRow * (len(tail) + 1))
	}
	fmt.Fprintf(s.w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img">`+"\n",
		width, height, width, height)
	fmt.Fprintf(s.w, "<title>%s</title>\n<style>%s</style>\n<rect class=\"sheet\" width=\"100%%\" height=\"100%%\"/>\n",
		html.EscapeString(title(f)), svgStyle)
	for i, h := range heads {
		s.text(svgMargin, svgMargin+float64(svgRow*i)+14, []string{"head", "dim", "dead"}[min(i, 2)], h)
	}
	s.textEnd(sessionRight, top-8, "dim", "SESSION")
	s.textEnd(groupRight, top-8, "dim", "GROUP")
	s.text(left, top-8, "dim", "TASK")
	for i := range s.boxes {
		b := &s.boxes[i]
		x := left + float64(b.indent*svgIndent) - 6
		inset := float64(4 * b.depth)
		fmt.Fprintf(s.w, `<rect class="box" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="5"/>`+"\n",
			x, top+b.top+1, width-svgMargin+8-inset-x, b.bottom-b.top+2)
	}
	s.branches(left, top)
	for i := range s.rows {
		line := &s.rows[i]
		y := top + line.y + 14
		x := left + float64(line.indent*svgIndent)
		if line.node.ns != forest.None {
			s.text(x, y, "name", line.text)
			continue
		}
		s.task(x, y, &f.Tasks[line.node.task])
		s.lane(svgMargin, sessionRight, y, f.Tasks[line.node.task].SID, true)
		s.lane(groupLane, groupRight, y, f.Tasks[line.node.task].PGID, false)
	}
	for i, t := range tail {
		s.text(svgMargin, top+s.depth+float64(svgRow*(1+i))+14, "ghost", t)
	}
	fmt.Fprintln(s.w, "</svg>")
}

// branches are the lines from a node to those below it.
func (s *svg) branches(left, top float64) {
	above := make([]int, 0, maxIndent+1) // by indent: the last row there
	for i := range s.rows {
		at := s.rows[i].indent
		above = append(above[:min(at, len(above))], i)
		if at == 0 || at >= maxIndent {
			continue
		}
		up := above[at-1]
		x := left + float64((at-1)*svgIndent) + 4
		fmt.Fprintf(s.w, `<path class="branch" d="M%.1f %.1fV%.1fH%.1f"/>`+"\n",
			x, top+s.rows[up].y+svgRow-1, top+s.rows[i].y+svgRow/2, x+svgIndent-7)
	}
}

func (s *svg) task(x, y float64, k *forest.Task) {
	class := class(k)
	fmt.Fprintf(s.w, `<text x="%.1f" y="%.1f"><tspan class="num">%s</tspan> <tspan class="%s">%s</tspan>`,
		x, y, s.numbers(k), class, html.EscapeString(forest.Escape(k.Comm)))
	if notes := s.notes(k); notes != "" {
		fmt.Fprintf(s.w, `<tspan class="%s">   %s</tspan>`, cmp.Or(class, "dim"), html.EscapeString(notes))
	}
	fmt.Fprintln(s.w, "</text>")
}

// lane is the part of a lane beside one row, with its number.
func (s *svg) lane(x, right, y float64, tag forest.Tag, session bool) {
	degrees, light := 0, 55
	if session {
		degrees = s.colors.hueOf(tag)
	} else {
		d, step := s.colors.shadeOf(tag)
		degrees, light = d, 42+9*step
	}
	fmt.Fprintf(s.w, `<rect x="%.1f" y="%.1f" width="%d" height="%d" fill="hsl(%d 60%% %d%%)"/>`+"\n",
		x, y-14, svgLane, svgRow, degrees, light)
	class := "dim"
	if tag.IsPid() && s.x.TaskOf(tag) == forest.None {
		class = "ghost"
	}
	s.textEnd(right, y, class, number(s.f, s.x, tag))
}

func (s *svg) text(x, y float64, class, text string) {
	fmt.Fprintf(s.w, `<text x="%.1f" y="%.1f" class="%s">%s</text>`+"\n", x, y, class, html.EscapeString(text))
}

func (s *svg) textEnd(x, y float64, class, text string) {
	fmt.Fprintf(s.w, `<text x="%.1f" y="%.1f" class="%s" text-anchor="end">%s</text>`+"\n", x, y, class, html.EscapeString(text))
}
