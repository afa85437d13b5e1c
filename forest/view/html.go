// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

var (
	//go:embed page/page.css
	pageStyle string
	//go:embed page/page.js
	pageScript string
)

// maxNesting bounds how deep elements of a page are in each other: browsers
// give up at some 500. What is deeper stands beside its parent, and says so.
const maxNesting = 80

// HTML writes f as one page without anything from elsewhere: pid namespaces as
// boxes in boxes, processes with their chains of numbers, threads, sessions and
// groups by colour, ghosts and zombies marked. It can be searched and
// collapsed, and is there without scripts, too. Nothing that a process chose
// gets into it unescaped, and a policy in the page forbids any other script.
func HTML(w io.Writer, f *forest.Forest) error {
	p := &page{w: bufio.NewWriter(w)}
	p.head(title(f))
	p.controls()
	p.pane(f, "t", nil)
	p.foot()
	return p.w.Flush()
}

// HTMLDiff writes two forests side by side, a which was and b which is, with
// what differs (as forest.Diff says) in a list and at the tasks it is about.
// nameA and nameB are what the two are called.
func HTMLDiff(w io.Writer, a, b *forest.Forest, differences []forest.Difference, nameA, nameB string) error {
	p := &page{w: bufio.NewWriter(w)}
	p.head(plural(len(differences), "difference"))
	p.differences(differences, nameA, nameB)
	p.controls()
	in := [2]map[int][]string{{}, {}}
	for _, d := range differences {
		for side, task := range [2]int{d.A, d.B} {
			if task != forest.None {
				in[side][task] = append(in[side][task], d.Text)
			}
		}
	}
	fmt.Fprint(p.w, `<div class="sides">`)
	for side, f := range [2]*forest.Forest{a, b} {
		fmt.Fprintf(p.w, `<div class="side"><h2>%s</h2>`, esc([2]string{nameA, nameB}[side]))
		p.pane(f, string("ab"[side]), in[side])
		fmt.Fprint(p.w, `</div>`)
	}
	fmt.Fprint(p.w, `</div>`)
	p.foot()
	return p.w.Flush()
}

// page is a page being written.
type page struct{ w *bufio.Writer }

// esc is s, from wherever, as text of a page.
func esc(s string) string { return html.EscapeString(forest.Escape(s)) }

// only is the source expression of a policy that allows this text and no other.
func only(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p *page) head(title string) {
	fmt.Fprintf(p.w, `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src %s; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>pidgraft: %s</title>
<style>%s</style></head><body>
`, only(pageScript), html.EscapeString(title), pageStyle)
}

func (p *page) controls() {
	fmt.Fprint(p.w, `<nav><input type="search" id="find" placeholder="number, name or state" aria-label="find tasks" autocomplete="off"><output id="found"></output>
<button type="button" id="next">next</button> <button type="button" id="open">expand all</button> <button type="button" id="shut">collapse all</button>
<span class="legend"><b>20/1</b> numbers, outermost first <i class="thread">{9}</i> thread <i class="dead">zombie</i> <i class="ghost">(5)</i> ghost
<i class="tag">S</i> session <i class="tag">G</i> group: point at one to see who is in it</span></nav>
`)
}

func (p *page) foot() { fmt.Fprintf(p.w, "<script>%s</script>\n</body></html>\n", pageScript) }

func (p *page) differences(ds []forest.Difference, nameA, nameB string) {
	fmt.Fprintf(p.w, `<header><h1>%s</h1><p>from %s to %s</p></header><section class="differences">`,
		plural(len(ds), "difference"), esc(nameA), esc(nameB))
	if len(ds) == 0 {
		fmt.Fprint(p.w, `<p>The two are the same forest.</p>`)
	}
	fmt.Fprint(p.w, `<ul>`)
	for _, d := range ds {
		subject := html.EscapeString(d.Subject)
		var links []string
		for side, task := range [2]int{d.A, d.B} {
			if task != forest.None {
				links = append(links, fmt.Sprintf(`<a href="#%c%d">%s</a>`, "ab"[side], task, [2]string{"was", "is"}[side]))
			}
		}
		fmt.Fprintf(p.w, "<li><b>%s</b> %s %s</li>\n", subject, html.EscapeString(d.Text), strings.Join(links, " "))
	}
	fmt.Fprint(p.w, `</ul></section>`)
}

// pane writes one forest. prefix begins the name of each task's element, notes
// are more to say about tasks.
func (p *page) pane(f *forest.Forest, prefix string, notes map[int][]string) {
	fmt.Fprintf(p.w, `<header><h1>%s</h1><p>%s</p>`, html.EscapeString(title(f)), html.EscapeString(taken(f)))
	for _, why := range f.Inexact {
		fmt.Fprintf(p.w, `<p class="dead">%s</p>`, html.EscapeString(inexact(why)))
	}
	fmt.Fprint(p.w, "</header>\n<main>")
	o := &pane{page: p, outline: newOutline(f), colors: newPalette(f), prefix: prefix, more: notes,
		ghosts: map[int][]forest.Tag{}, shown: map[int]bool{}}
	for _, tag := range o.x.Ghosts() {
		ns := f.Pid(tag).Namespace
		o.ghosts[ns] = append(o.ghosts[ns], tag)
	}
	o.walk(o.enter, o.leave)
	o.rest()
	fmt.Fprint(p.w, "</main>\n")
}

// pane is a forest being written into a page.
type pane struct {
	*page
	outline
	colors *palette
	prefix string
	more   map[int][]string
	ghosts map[int][]forest.Tag // by namespace, those not written yet
	open   []string             // what ends each node that is open, by depth
	chips  bool                 // a line of threads is open
	shown  map[int]bool         // namespaces that have a box
}

func (o *pane) enter(n node, last []bool) {
	flat := len(last) > maxNesting
	below := n.ns != forest.None || len(o.below(n)) > 0
	chip := !flat && !below && !o.f.Tasks[n.task].IsLeader()
	o.line(chip)
	end := ""
	switch {
	case n.ns != forest.None:
		o.shown[n.ns] = true
		fmt.Fprintf(o.w, `<details open class="ns"><summary>%s</summary><div class="in">`, html.EscapeString(o.space(n.ns)))
		end = boxEnd
		if flat {
			fmt.Fprint(o.w, boxEnd)
			end = ""
		}
	case flat:
		fmt.Fprintf(o.w, `<div class="leaf">%s</div>`+"\n", o.row(int(n.task), len(last)))
	case below:
		fmt.Fprintf(o.w, `<details open class="task"><summary>%s</summary><div class="in">`, o.row(int(n.task), 0))
		end = boxEnd
	case chip:
		fmt.Fprint(o.w, o.row(int(n.task), 0), "\n")
	default:
		fmt.Fprintf(o.w, `<div class="leaf">%s</div>`+"\n", o.row(int(n.task), 0))
	}
	o.open = append(o.open[:len(last)-1], end)
}

const boxEnd = "</div></details>\n"

// line begins a line of threads that have no children, or ends it.
func (o *pane) line(chip bool) {
	switch {
	case chip && !o.chips:
		fmt.Fprint(o.w, `<div class="chips">`)
	case !chip && o.chips:
		fmt.Fprint(o.w, "</div>\n")
	}
	o.chips = chip
}

func (o *pane) leave(n node) {
	end := o.open[len(o.open)-1]
	if end != "" {
		o.line(false)
	}
	if n.ns != forest.None {
		o.ghostsOf(n.ns)
	}
	fmt.Fprint(o.w, end)
	o.open = o.open[:len(o.open)-1]
}

// row is what a page says of a task. depth is said if it is not 0.
func (o *pane) row(task, depth int) string {
	k := &o.f.Tasks[task]
	marks := "row"
	if c := class(k); c != "" {
		marks += " " + c
	}
	notes := o.notes(k)
	if depth > 0 {
		notes = strings.TrimPrefix(notes+fmt.Sprintf("; %d levels down", depth), "; ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<span class="%s" id="%s%d" title="%s"><b>%s</b> <span class="comm">%s</span>`,
		marks, o.prefix, task, html.EscapeString(o.chain(k)), o.numbers(k), esc(k.Comm))
	if notes != "" {
		fmt.Fprintf(&b, ` <span class="notes">%s</span>`, html.EscapeString(notes))
	}
	for _, more := range o.more[task] {
		fmt.Fprintf(&b, ` <mark>%s</mark>`, html.EscapeString(more))
	}
	degrees, step := o.colors.shadeOf(k.PGID)
	fmt.Fprintf(&b, `<span class="tags"><i class="tag" data-s="%s%d" style="--h:%d">S %s</i><i class="tag" data-g="%s%d" style="--h:%d;--l:%d">G %s</i></span></span>`,
		o.prefix, k.SID, o.colors.hueOf(k.SID), number(o.f, o.x, k.SID),
		o.prefix, k.PGID, degrees, step, number(o.f, o.x, k.PGID))
	return b.String()
}

// chain is the numbers of a task in words.
func (o *pane) chain(k *forest.Task) string {
	p := o.f.Pid(k.Pid)
	parts := make([]string, len(p.Numbers))
	for ns := p.Namespace; ns >= 0; ns = o.f.Namespaces[ns].Parent {
		level := o.f.Namespaces[ns].Level
		parts[level] = fmt.Sprintf("%d in %s", p.Numbers[level], namespace(o.f, ns))
	}
	return strings.Join(parts, ", ")
}

func (o *pane) ghostsOf(ns int) {
	for _, tag := range o.ghosts[ns] {
		fmt.Fprintf(o.w, `<div class="leaf"><span class="row ghost"><b>(%s)</b> <span class="notes">ghost: %s</span></span></div>`+"\n",
			o.f.TagName(tag), html.EscapeString(o.uses(tag)))
	}
	delete(o.ghosts, ns)
}

// rest are the namespaces that no task of the forest lives in.
func (o *pane) rest() {
	for ns := range o.f.Namespaces {
		if !o.shown[ns] {
			fmt.Fprintf(o.w, `<details open class="ns"><summary>%s: no task lives there</summary><div class="in">`, html.EscapeString(o.space(ns)))
			o.ghostsOf(ns)
			fmt.Fprint(o.w, boxEnd)
		}
	}
}
