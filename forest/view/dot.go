// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// DOT writes f as a graph for Graphviz: pid namespaces as nested clusters, a
// node for each task and each ghost, an edge from each parent to its children
// and a dashed one to the other threads of a process. A dotted edge leads from
// a ghost to who still uses it as group or session.
func DOT(w io.Writer, f *forest.Forest) error {
	d := &dot{outline: newOutline(f), w: bufio.NewWriter(w), colors: newPalette(f)}
	d.graph()
	return d.w.Flush()
}

type dot struct {
	outline
	w      *bufio.Writer
	colors *palette
}

func (d *dot) graph() {
	f := d.f
	fmt.Fprint(d.w, `digraph forest {
  rankdir=LR
  graph [fontname="sans-serif", fontsize=11, style="rounded", color="#7a8699"]
  node [fontname="sans-serif", fontsize=10, shape=box, style="rounded,filled", color="#5b6675"]
  edge [color="#5b6675", arrowsize=0.6]
`)
	fmt.Fprintf(d.w, "  label=%s\n", quote(title(f)))
	tasks, ghosts, inside := d.members()
	// Namespaces are nested as deep as the kernel lets them, 32 levels.
	var cluster func(ns int, indent string)
	cluster = func(ns int, indent string) {
		fmt.Fprintf(d.w, "%ssubgraph cluster_%d {\n%s  label=%s\n", indent, ns, indent, quote(d.space(ns)))
		for _, i := range tasks[ns] {
			d.task(int(i), indent+"  ")
		}
		for _, tag := range ghosts[ns] {
			fmt.Fprintf(d.w, "%s  g%d [label=%s, shape=box, style=dashed]\n", indent, tag, quote(f.TagName(tag)))
		}
		if len(tasks[ns]) == 0 && len(ghosts[ns]) == 0 && len(inside[ns]) == 0 {
			// A cluster without a node is not drawn.
			fmt.Fprintf(d.w, "%s  n%d [label=\"no task lives here\", shape=plaintext, style=\"\"]\n", indent, ns)
		}
		for _, below := range inside[ns] {
			cluster(int(below), indent+"  ")
		}
		fmt.Fprintf(d.w, "%s}\n", indent)
	}
	cluster(0, "  ")
	d.edges()
	fmt.Fprintln(d.w, "}")
}

// members are the tasks, ghosts and namespaces in each namespace.
func (d *dot) members() (tasks [][]int32, ghosts [][]forest.Tag, inside [][]int32) {
	f := d.f
	tasks, ghosts = make([][]int32, len(f.Namespaces)), make([][]forest.Tag, len(f.Namespaces))
	inside = make([][]int32, len(f.Namespaces))
	for i := range f.Tasks {
		ns := d.home(int32(i))
		tasks[ns] = append(tasks[ns], int32(i))
	}
	for _, tag := range d.x.Ghosts() {
		ns := f.Pid(tag).Namespace
		ghosts[ns] = append(ghosts[ns], tag)
	}
	for i := range f.Namespaces {
		if up := f.Namespaces[i].Parent; up >= 0 {
			inside[up] = append(inside[up], int32(i))
		}
	}
	return tasks, ghosts, inside
}

func (d *dot) task(i int, indent string) {
	k := &d.f.Tasks[i]
	lines := []string{d.numbers(k) + " " + forest.Escape(k.Comm)}
	if notes := d.notes(k); notes != "" {
		lines = append(lines, strings.Split(notes, "; ")...)
	}
	lines = append(lines, fmt.Sprintf("session %s, group %s", number(d.f, d.x, k.SID), number(d.f, d.x, k.PGID)))
	degrees, step := d.colors.shadeOf(k.PGID)
	style := "rounded,filled"
	switch {
	case k.State.Exited():
		style = "rounded,filled,dashed"
	case !k.IsLeader():
		style = "filled"
	}
	for l := range lines {
		lines[l] = quoted(lines[l])
	}
	fmt.Fprintf(d.w, "%st%d [label=\"%s\", style=%s, fillcolor=\"%.3f %.2f 0.97\"]\n",
		indent, i, strings.Join(lines, `\n`), quote(style), float64(degrees)/360, 0.12+0.1*float64(step))
}

func (d *dot) edges() {
	f := d.f
	for i := range f.Tasks {
		for _, j := range d.x.Children(i) {
			fmt.Fprintf(d.w, "  t%d -> t%d\n", i, j)
		}
		if threads := d.x.Threads(i); len(threads) > 1 {
			for _, j := range threads[1:] {
				fmt.Fprintf(d.w, "  t%d -> t%d [style=dashed, arrowhead=none]\n", i, j)
			}
		}
	}
	for _, tag := range d.x.Ghosts() {
		as := map[int32]string{}
		for _, j := range d.x.Group(tag) {
			as[j] = "group"
		}
		for _, j := range d.x.Session(tag) {
			as[j] = strings.TrimPrefix(as[j]+", session", ", ")
		}
		for _, j := range slices.Sorted(maps.Keys(as)) {
			fmt.Fprintf(d.w, "  g%d -> t%d [style=dotted, arrowhead=none, constraint=false, label=%s, fontname=\"sans-serif\", fontsize=9]\n",
				tag, j, quote(as[j]))
		}
	}
}

// quoted is s inside the quotes of a DOT string. There a backslash begins an
// escape, of which some stand for names of the graph.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

func quote(s string) string { return `"` + quoted(s) + `"` }
