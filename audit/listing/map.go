// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/audit/record"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/forest"
)

// MapSchema names the form that MapsJSON writes: docs/schema/map.v1.json.
const MapSchema = "pidgraft.map.v1"

// Map is what an object is called at each level.
type Map struct {
	State  string  `json:"state"`
	Comm   *string `json:"comm"` // of the task that carries it; null: none does
	Levels []Level `json:"levels"`
}

// Level is an object's number in one namespace.
type Level struct {
	Level     int    `json:"level"` // of the namespace, below the initial one
	Namespace uint32 `json:"namespace"`
	Number    int32  `json:"number"`
	Own       bool   `json:"own"` // the reader's own namespace
	record.Place
}

// Maps translates objects, sorted by number and each once. Own is the inode of the
// reader's namespace.
func Maps(objects []*state.Object, names func(inode uint32) container.Name, own uint32) []Map {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b *state.Object) int { return slices.Compare(a.Numbers, b.Numbers) })
	var maps []Map
	for _, o := range slices.Compact(objects) {
		m := Map{State: StateOf(o)}
		if o.Carrier != nil {
			comm := forest.Escape(o.Carrier.Comm)
			m.Comm = &comm
		}
		for ns := o.Namespace; ns != nil; ns = ns.Parent {
			name := names(ns.Inode)
			m.Levels = append(m.Levels, Level{ns.Level, ns.Inode, o.Numbers[ns.Level], ns.Inode == own,
				record.Place{Container: name.Container(), Pod: name.Pod}})
		}
		slices.Reverse(m.Levels)
		maps = append(maps, m)
	}
	return maps
}

// MapsJSON writes maps.
func MapsJSON(w io.Writer, maps []Map) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(struct {
		Schema string `json:"schema"`
		Maps   []Map  `json:"maps"`
	}{MapSchema, maps})
}

// MapsTable writes maps, a line for each level and one between objects.
func MapsTable(w io.Writer, maps []Map) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%5s  %10s  %7s  %s\n", "LEVEL", "NAMESPACE", "NUMBER", "WHERE")
	for i, m := range maps {
		if i > 0 {
			fmt.Fprintln(b)
		}
		for j, l := range m.Levels {
			where := dash(l.Container)
			switch {
			case l.Own:
				where = "here"
			case l.Level == 0:
				where = "the initial namespace"
			}
			if j == len(m.Levels)-1 {
				where += "  " + m.who()
			}
			fmt.Fprintf(b, "%5d  %10s  %7d  %s\n", l.Level, known(l.Namespace), l.Number, where)
		}
	}
	return b.Flush()
}

// who carries the object.
func (m *Map) who() string {
	if m.Comm == nil {
		return "(" + m.State + ")"
	}
	if m.State == Live {
		return *m.Comm
	}
	return *m.Comm + " (" + m.State + ")"
}
