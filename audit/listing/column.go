// SPDX-License-Identifier: Apache-2.0

package listing

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Column is one of Columns.
type Column struct {
	Name string
	Doc  string
	cell func(r *Row, from int) string
	less func(a, b *Row) int
	// right: numbers are easier to compare like this.
	right bool
}

// Columns are all there are, in the order of the wide table.
var Columns = []Column{
	{"numbers", "its chain of numbers, outermost namespace first", func(r *Row, from int) string { return chain(r.Numbers, from) }, byNumbers, false},
	{"namespace", "the inode of its own pid namespace", func(r *Row, _ int) string { return known(r.Namespace) }, by(func(r *Row) uint32 { return r.Namespace }), true},
	{"level", "how far that is below the initial one", func(r *Row, _ int) string { return strconv.Itoa(r.Level) }, by(func(r *Row) int { return r.Level }), true},
	{"uses", "as what it is used, and by how many if not by one", func(r *Row, _ int) string { return r.Uses.String() }, by(func(r *Row) int { return r.Uses.TGID + r.Uses.PGID + r.Uses.SID }), false},
	{"process", "the process of its task", func(r *Row, from int) string { return number(r.Process, from) }, by(func(r *Row) int32 { return at(r.Process) }), true},
	{"parent", "the parent of that", func(r *Row, from int) string { return number(r.Parent, from) }, by(func(r *Row) int32 { return at(r.Parent) }), true},
	{"group", "its process group", func(r *Row, from int) string { return number(r.Group, from) }, by(func(r *Row) int32 { return at(r.Group) }), true},
	{"session", "its session", func(r *Row, from int) string { return number(r.Session, from) }, by(func(r *Row) int32 { return at(r.Session) }), true},
	{"state", "live, exiting, zombie, kernel, ghost or held", func(r *Row, _ int) string { return r.State }, by(func(r *Row) string { return r.State }), false},
	{"uid", "the real uid of its task, in the initial user namespace", func(r *Row, _ int) string { return optional(r.UID) }, by(func(r *Row) int64 { return value(r.UID) }), true},
	{"start", "when its task was born, in seconds since boot", func(r *Row, _ int) string { return since(r.Start) }, by(func(r *Row) int64 { return value(r.Start) }), true},
	{"comm", "the name that its task gave itself", func(r *Row, _ int) string { return comm(r) }, by(comm), false},
	{"container", "the container, or systemd unit, that its namespace is", func(r *Row, _ int) string { return dash(r.Container) }, by(func(r *Row) string { return r.Container }), false},
	{"pod", "the Kubernetes pod that that is in", func(r *Row, _ int) string { return dash(r.Pod) }, by(func(r *Row) string { return r.Pod }), false},
}

// Default are the columns of a table if none are asked for.
var Default = []string{"numbers", "namespace", "uses", "process", "parent", "group", "session", "state", "uid", "comm"}

// Names are the names of all columns.
func Names() []string {
	names := make([]string, len(Columns))
	for i := range Columns {
		names[i] = Columns[i].Name
	}
	return names
}

// Find is the column of a name.
func Find(name string) (*Column, error) {
	i := slices.IndexFunc(Columns, func(c Column) bool { return c.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no column %q, only %s", name, strings.Join(Names(), ", "))
	}
	return &Columns[i], nil
}

// Sort sorts by the column of a name, descending after a minus sign; what is
// equal by it, by number.
func Sort(rows []Row, name string) error {
	name, down := strings.CutPrefix(name, "-")
	c, err := Find(name)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		order := c.less(&a, &b)
		if down {
			order = -order
		}
		return cmp.Or(order, byNumbers(&a, &b))
	})
	return nil
}

func by[T cmp.Ordered](key func(*Row) T) func(a, b *Row) int {
	return func(a, b *Row) int { return cmp.Compare(key(a), key(b)) }
}

func byNumbers(a, b *Row) int { return slices.Compare(a.Numbers, b.Numbers) }

// String is "pid tgid:4 pgid": as what it is used, and by how many.
func (u Uses) String() string {
	var b strings.Builder
	for _, use := range []struct {
		name string
		n    int
	}{{"pid", u.PID}, {"tgid", u.TGID}, {"pgid", u.PGID}, {"sid", u.SID}} {
		switch {
		case use.n == 0:
			continue
		case b.Len() > 0:
			b.WriteByte(' ')
		}
		b.WriteString(use.name)
		if use.n > 1 {
			fmt.Fprintf(&b, ":%d", use.n)
		}
	}
	return dash(b.String())
}

// chain is the numbers from a level inwards.
func chain(numbers []int32, from int) string {
	if from >= len(numbers) {
		return "-"
	}
	parts := make([]string, 0, len(numbers)-from)
	for _, n := range numbers[from:] {
		parts = append(parts, strconv.Itoa(int(n)))
	}
	return strings.Join(parts, "/")
}

// number is the one at a level.
func number(numbers []int32, level int) string {
	if level >= len(numbers) {
		return "-"
	}
	return strconv.Itoa(int(numbers[level]))
}

func at(numbers []int32) int32 {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[0]
}

func known(inode uint32) string {
	if inode == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(inode), 10)
}

func optional(n *uint32) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(uint64(*n), 10)
}

func value[T uint32 | uint64](n *T) int64 {
	if n == nil {
		return -1
	}
	return int64(*n)
}

func since(ns *uint64) string {
	if ns == nil {
		return "-"
	}
	return fmt.Sprintf("%d.%03d", *ns/1e9, *ns/1e6%1e3)
}

func comm(r *Row) string {
	if r.Comm == nil {
		return "-"
	}
	return *r.Comm
}

func dash(s string) string { return cmp.Or(s, "-") }
