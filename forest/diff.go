// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"cmp"
	"slices"
)

// DiffOptions say what beyond the forest itself is compared.
type DiffOptions struct {
	// LiveIDs compares the uids and gids of tasks that have not exited. A
	// restore applies those only when a program is run; those of zombies
	// and dead leaders are always compared.
	LiveIDs bool
}

// Difference is one thing that is not the same in two forests.
type Difference struct {
	A, B    int    // the task it is about in either forest, or None
	Subject string // what it is about, in words: "task 7/1 (sh)"
	Text    string // what differs, in words: "group is 12, was 9"
}

func (d Difference) String() string { return d.Subject + ": " + d.Text }

// Diff lists what differs between forest a, which was, and forest b, which is.
// Both must be such as Validate accepts. It is empty if b is the same forest
// in the sense of a restore: all but start times, inodes, the producer, the
// way of the cut, reasons of inexactness, references, the order of tags and of
// namespaces, raw exit codes that wait would not report, and (see
// DiffOptions) the ids of tasks that live. The pid_max of a namespace counts only
// where both kernels have one for each.
//
// A pid object is matched by its number in the root namespace, which no other
// object of the forest has; a namespace by the objects in it, its init's
// first, or if there are none by the tasks whose children would be born in
// it. It takes linear time.
func Diff(a, b *Forest, o DiffOptions) []Difference {
	d := &differ{a: newSide(a), b: newSide(b), o: o}
	d.matchPids()
	d.matchNamespaces()
	d.matchUserNamespaces()
	if a.Mode != b.Mode {
		d.add(None, None, "the forest", "taken as a "+b.Mode.String(), "a "+a.Mode.String())
	}
	d.namespaces()
	d.userNamespaces()
	d.pids()
	d.tasks()
	d.siblings()
	return d.found
}

// side is one of the two forests.
type side struct {
	*Forest
	index *Index
	// mate is what each thing is in the other forest: by tag - 1 a tag or
	// 0, by namespace and user namespace an index or None.
	pid     []Tag
	ns      []int32
	userns  []int32
	numbers []numbered // pid objects by their number in the root namespace
}

type numbered struct {
	number int32
	tag    Tag
}

func newSide(f *Forest) *side {
	s := &side{
		Forest: f, index: newRelatives(f),
		pid:     make([]Tag, len(f.Pids)),
		ns:      nones(len(f.Namespaces)),
		userns:  nones(len(f.UserNamespaces)),
		numbers: make([]numbered, len(f.Pids)),
	}
	for i := range f.Pids {
		s.numbers[i] = numbered{f.Pids[i].Numbers[0], Tag(i + 1)}
	}
	byNumber := func(x, y numbered) int { return cmp.Compare(x.number, y.number) }
	// Mostly they are: tags are given in the order of the tasks.
	if !slices.IsSortedFunc(s.numbers, byNumber) {
		slices.SortFunc(s.numbers, byNumber)
	}
	return s
}

func nones(n int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = None
	}
	return s
}

type differ struct {
	a, b  *side
	o     DiffOptions
	found []Difference
}

// add notes that something is "is" and was "was".
func (d *differ) add(a, b int, subject, is, was string) {
	d.found = append(d.found, Difference{a, b, subject, is + ", was " + was})
}

// matchPids pairs the objects that have the same number in the root namespace.
func (d *differ) matchPids() {
	for i, j := 0, 0; i < len(d.a.numbers) && j < len(d.b.numbers); {
		x, y := d.a.numbers[i], d.b.numbers[j]
		switch {
		case x.number < y.number:
			i++
		case x.number > y.number:
			j++
		default:
			d.a.pid[x.tag-1], d.b.pid[y.tag-1] = y.tag, x.tag
			i, j = i+1, j+1
		}
	}
}

// matchNamespaces pairs namespaces, the root first and then by what lives in
// them. The first pairing wins; an object that says otherwise has moved.
func (d *differ) matchNamespaces() {
	d.a.ns[0], d.b.ns[0] = 0, 0
	for _, inits := range []bool{true, false} {
		for i := range d.a.Pids {
			p := &d.a.Pids[i]
			if q := d.b.Pid(d.a.pid[i]); q != nil && (p.Number() == 1) == inits {
				d.pairNamespaces(p.Namespace, q.Namespace)
			}
		}
	}
	for i := range d.a.Tasks {
		j := d.taskB(i)
		if j == None {
			continue
		}
		x, y := d.a.Tasks[i].ChildNamespace, d.b.Tasks[j].ChildNamespace
		if x != SameNamespace && y != SameNamespace {
			d.pairNamespaces(x, y)
		}
	}
}

// pairNamespaces pairs x of a with y of b, and their ancestors, if they are at
// one level and neither has another mate.
func (d *differ) pairNamespaces(x, y int) {
	if d.a.Namespaces[x].Level != d.b.Namespaces[y].Level {
		return
	}
	for d.a.ns[x] == None && d.b.ns[y] == None {
		d.a.ns[x], d.b.ns[y] = int32(y), int32(x)
		x, y = d.a.Namespaces[x].Parent, d.b.Namespaces[y].Parent
	}
}

// matchUserNamespaces pairs user namespaces by the tasks in them and by the pid
// namespaces that they own.
func (d *differ) matchUserNamespaces() {
	d.a.userns[0], d.b.userns[0] = 0, 0
	pair := func(x, y int) {
		for d.a.userns[x] == None && d.b.userns[y] == None {
			d.a.userns[x], d.b.userns[y] = int32(y), int32(x)
			x, y = d.a.UserNamespaces[x].Parent, d.b.UserNamespaces[y].Parent
		}
	}
	for x, y := range d.a.ns {
		if y != None {
			pair(d.a.Namespaces[x].Owner, d.b.Namespaces[y].Owner)
		}
	}
	for i := range d.a.Tasks {
		if j := d.taskB(i); j != None {
			pair(d.a.Tasks[i].UserNamespace, d.b.Tasks[j].UserNamespace)
		}
	}
}

// taskB is the task of b that has the number of task i of a, or None.
func (d *differ) taskB(i int) int { return d.b.index.TaskOf(d.a.pid[d.a.Tasks[i].Pid-1]) }

// same reports whether tag x of a and tag y of b are the same object, or the
// same special tag.
func (d *differ) same(x, y Tag) bool {
	if x.IsPid() && y.IsPid() {
		return d.a.pid[x-1] == y
	}
	return x == y
}
