// SPDX-License-Identifier: Apache-2.0

package history

import (
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// Told is how much of a forest a File told.
type Told struct {
	Processes int // of the forest
	Born      int // of these, whose birth it knows
	Departed  int // that are gone, and are needed to tell
}

// ErrOther: the history is of another namespace, or of another time.
var ErrOther = errors.New("the history is of others")

// ErrContradicts: the forest is not what could have become of the history.
var ErrContradicts = errors.New("the history contradicts what is there")

// Tell adds to a forest, which was dumped while the File's boot lasted, where its
// processes were born. What is not in the File, or not sure, is left unknown. With
// an error the forest is as it was.
//
// Errors: ErrOther, ErrContradicts.
func (f *File) Tell(to *forest.Forest) (Told, error) {
	t := newTeller(f, to)
	if t.of[0] == None {
		return Told{}, fmt.Errorf("%w: it does not know %s, which has been there since %.3f s after the boot",
			ErrOther, to.TaskName(0), float64(to.Root().StartTime)/1e9)
	}
	if err := t.contradiction(); err != nil {
		return Told{}, err
	}
	t.tell()
	told := *to
	told.Origins, told.Departed = t.origins, t.departed
	if err := forest.Validate(&told); err != nil {
		return Told{}, fmt.Errorf("%w: %w", ErrContradicts, err)
	}
	to.Origins, to.Departed = t.origins, t.departed
	return t.told, nil
}

// None is no entry.
const None = -1

type teller struct {
	h *File
	f *forest.Forest
	x *forest.Index
	// of is the entry of each task that leads, or None; task the reverse, and
	// tag the object of an entry: also of a ghost.
	of   []int
	task map[int]int
	tag  map[int]forest.Tag

	kept     map[int]int // entries that departed, and their index
	origins  []forest.Origin
	departed []forest.Departed
	told     Told
}

func newTeller(h *File, f *forest.Forest) *teller {
	t := &teller{
		h: h, f: f, x: forest.NewIndex(f), of: make([]int, len(f.Tasks)),
		task: make(map[int]int), tag: make(map[int]forest.Tag), kept: make(map[int]int),
	}
	held := make(map[Key]int)
	for i := range h.Entries {
		if e := &h.Entries[i]; e.Marks&Dead == 0 || e.Marks&Ghost != 0 {
			held[e.Key] = i
		}
	}
	find := func(tag forest.Tag) (int, bool) {
		p := f.Pid(tag)
		i, ok := held[Key{f.Namespaces[p.Namespace].Inode, p.Number()}]
		return i, ok
	}
	for i := range f.Tasks {
		task := &f.Tasks[i]
		t.of[i] = None
		if !task.IsLeader() {
			continue
		}
		t.told.Processes++
		if e, ok := find(task.Pid); ok && h.Entries[e].Start == task.StartTime && h.Entries[e].Marks&Dead == 0 {
			t.of[i], t.task[e], t.tag[e] = e, i, task.Pid
		}
	}
	for i := range f.Pids {
		tag := forest.Tag(i + 1)
		if e, ok := find(tag); ok && t.x.TaskOf(tag) == forest.None && t.hasLed(e, tag) {
			t.tag[e] = tag
		}
	}
	return t
}

// hasLed reports whether an entry is who led a ghost, and not somebody who had that
// number before: someone who is still there was born in its session or group.
func (t *teller) hasLed(e int, ghost forest.Tag) bool {
	for _, i := range t.x.Session(ghost) {
		if at := t.of[i]; at != None && int(t.h.Entries[at].Session) == e {
			return true
		}
	}
	for _, i := range t.x.Group(ghost) {
		if at := t.of[i]; at != None && int(t.h.Entries[at].Group) == e {
			return true
		}
	}
	return false
}

// contradiction looks for what cannot have become of the history: a session is
// changed only by leading one, and a parent is a birth ancestor or an init
// (kernel-rules, Theory).
func (t *teller) contradiction() error {
	for i := range t.f.Tasks {
		task := &t.f.Tasks[i]
		if !task.IsLeader() {
			continue
		}
		if t.of[i] == None {
			continue
		}
		e := &t.h.Entries[t.of[i]]
		if e.Marks&Seen == 0 {
			continue
		}
		reject := func(format string, args ...any) error {
			return fmt.Errorf("%w: %s: %s", ErrContradicts, t.f.TaskName(i), fmt.Sprintf(format, args...))
		}
		if task.StartTime > t.h.Boottime {
			return reject("it was born after the history was written")
		}
		born, visible := t.tag[int(e.Session)]
		// Which of those outside it is the forest does not say.
		same := visible && born == task.SID || !visible && !task.SID.IsPid()
		if e.Session != Unknown && !same && task.SID != task.TGID {
			was := "one that is not in the forest"
			if visible {
				was = t.f.TagName(born)
			}
			return reject("it was born in session %s, and is in session %s, which it does not lead", was, t.f.TagName(task.SID))
		}
		if why := t.parent(i, e); why != "" {
			return reject("%s", why)
		}
	}
	return nil
}

// parent holds the parent of a task against its birth ancestors, and says what is
// wrong. An init adopts anybody's children.
func (t *teller) parent(i int, e *Entry) string {
	parent := t.f.Tasks[i].Parent
	if i == 0 || !parent.IsPid() || t.f.Pid(parent).Number() == 1 {
		return ""
	}
	at := t.x.TaskOf(parent)
	if t.of[at] == None {
		return ""
	}
	for up := e.Parent; int(up) != t.of[at]; up = t.h.Entries[up].Parent {
		switch up {
		case Unknown:
			return "" // it may have been further up
		case Outside:
			return fmt.Sprintf("its parent is %s, and it descends from others only", t.f.TaskName(at))
		}
	}
	return ""
}

// tell makes the origins.
func (t *teller) tell() {
	t.keep()
	for i := range t.f.Tasks {
		o := forest.Unknown()
		if e := t.of[i]; e != None && t.h.Entries[e].Marks&Seen != 0 {
			o = t.origin(e, &t.f.Tasks[i])
			t.told.Born++
		}
		if i == 0 && (o.By.IsPid() || o.Departed != forest.None) {
			o.By, o.Departed, o.Between = forest.Outside, forest.None, 0
		}
		t.origins = append(t.origins, o)
	}
	t.told.Departed = len(t.departed)
}

// keep finds those that departed and tell others apart: whose number is still
// there, or of whom two descend, and who descend from somebody in the forest.
func (t *teller) keep() {
	below := make([]int, len(t.h.Entries))
	within := make([]bool, len(t.h.Entries))
	for i := range t.h.Entries {
		up := t.h.Entries[i].Parent
		_, here := t.task[i]
		within[i] = here || up >= 0 && within[up]
	}
	for i := len(t.h.Entries) - 1; i >= 0; i-- {
		_, here := t.task[i]
		_, object := t.tag[i]
		if here || object || below[i] > 1 {
			below[i] = 1
			if !here && within[i] {
				t.kept[i] = 0
			}
		}
		if up := t.h.Entries[i].Parent; up >= 0 {
			below[up] += min(below[i], 1)
		}
	}
	for i := range t.h.Entries {
		if _, ok := t.kept[i]; !ok {
			continue
		}
		t.kept[i] = len(t.departed)
		d := forest.Departed{Origin: forest.Unknown(), Object: forest.Outside}
		if t.h.Entries[i].Marks&Seen != 0 {
			d.Origin = t.origin(i, nil)
		}
		if tag, ok := t.tag[i]; ok {
			d.Object = tag
		}
		t.departed = append(t.departed, d)
	}
}

// origin is that of an entry; task is nil if it departed.
func (t *teller) origin(i int, task *forest.Task) forest.Origin {
	e := &t.h.Entries[i]
	o := forest.Origin{By: forest.Null, Departed: forest.None, Between: e.Between, Session: t.use(e.Session), Group: t.use(e.Group)}
	if task != nil && task.SID != task.TGID && e.Session != Unknown {
		o.Session = task.SID // it was looked at: the same
	}
	for up := e.Parent; ; up = t.h.Entries[up].Parent {
		if up < 0 {
			o.Between = 0
			if up == Outside {
				o.By = forest.Outside
			}
			return o
		}
		if at, ok := t.task[int(up)]; ok {
			o.By = t.f.Tasks[at].TGID
			return o
		}
		if at, ok := t.kept[int(up)]; ok {
			o.Departed = at
			return o
		}
		if !t.inside(t.h.Entries[up].Inode) {
			o.By, o.Between = forest.Outside, 0
			return o
		}
		o.Between += 1 + t.h.Entries[up].Between
	}
}

// inside reports whether a namespace is one of the forest's.
func (t *teller) inside(inode uint32) bool {
	for i := range t.f.Namespaces {
		if t.f.Namespaces[i].Inode == inode {
			return true
		}
	}
	return false
}

func (t *teller) use(i int32) forest.Tag {
	if tag, ok := t.tag[int(i)]; ok {
		return tag
	}
	return forest.Null
}
