// SPDX-License-Identifier: Apache-2.0

package foresttest

import "github.com/pidgraft/pidgraft/forest"

// Told is Sample with a history: who bore whom, with processes that are gone in
// between, one of which led a ghost.
func Told() *forest.Forest {
	f := Sample()
	tag := func(task int) forest.Tag { return f.Tasks[task].Pid }
	f.Origins = make([]forest.Origin, len(f.Tasks))
	for i := range f.Tasks {
		f.Origins[i] = forest.Unknown()
	}
	set := func(task int, o forest.Origin) { f.Origins[task] = o }
	set(0, forest.Origin{By: forest.Outside, Departed: forest.None, Session: forest.Inherited, Group: forest.Inherited})
	set(1, forest.Origin{By: tag(0), Departed: forest.None, Session: forest.Inherited, Group: forest.Inherited})
	set(2, forest.Origin{By: tag(1), Departed: forest.None, Session: tag(1), Group: tag(1)})
	// The daemon is in session 5, which a process led that is gone: a child's
	// child of the shell's.
	f.Departed = []forest.Departed{
		{Origin: forest.Origin{By: tag(1), Departed: forest.None, Between: 1, Session: tag(1), Group: forest.Null}, Object: f.Tasks[9].SID},
		{Origin: forest.Origin{By: forest.Null, Departed: 0, Session: f.Tasks[9].SID, Group: f.Tasks[9].SID}},
	}
	set(9, forest.Origin{By: forest.Null, Departed: 1, Between: 2, Session: f.Tasks[9].SID, Group: f.Tasks[9].PGID})
	set(10, forest.Origin{By: forest.Null, Departed: 1, Session: f.Tasks[9].SID, Group: f.Tasks[9].PGID})
	set(13, forest.Origin{By: forest.Outside, Departed: forest.None, Session: forest.Inherited, Group: forest.Inherited})
	return f
}

// origins draws a history that the forest does not contradict.
func (r *random) origins(f *forest.Forest) {
	if !r.oneIn(3, "told") {
		return
	}
	carried := map[forest.Tag]bool{}
	for i := range f.Tasks {
		carried[f.Tasks[i].Pid] = true
	}
	any := func(what string) forest.Tag {
		return pick(r, []forest.Tag{forest.Null, forest.Outside, forest.Inherited, forest.Tag(r.int(1, len(f.Pids), what))}, what)
	}
	// By somebody who comes before in the order of Tasks, so nobody is their own
	// ancestor.
	birth := func(before, departed int) forest.Origin {
		o := forest.Unknown()
		switch r.int(0, 3, "born") {
		case 0:
			return o
		case 1:
			o.By = forest.Outside
		case 2:
			if before > 0 {
				o.By = f.Tasks[r.int(0, before-1, "by")].TGID
			}
		case 3:
			if departed > 0 {
				o.Departed = r.int(0, departed-1, "by one that departed")
			}
		}
		if o.Known() {
			o.Between = uint32(r.int(0, 3, "between"))
		}
		return o
	}
	for i := range r.int(0, 3, "departed") {
		// Of the root at most: whoever descends from them comes after it.
		d := forest.Departed{Origin: birth(1, i)}
		d.Session, d.Group = any("session"), any("group")
		if t := forest.Tag(r.int(1, len(f.Pids), "ghost")); !carried[t] {
			d.Object = t
		}
		f.Departed = append(f.Departed, d)
	}
	for i := range f.Tasks {
		t, o := &f.Tasks[i], forest.Unknown()
		if t.IsLeader() {
			if i > 0 {
				o = birth(i, len(f.Departed))
			}
			if o.Session = any("session"); t.SID != t.TGID {
				o.Session = t.SID
			} else if o.Session == t.TGID {
				o.Session = forest.Null
			}
			if o.Group = any("group"); o.Group == t.TGID {
				o.Group = forest.Null
			}
			if o.By == t.TGID {
				o.By, o.Between = forest.Null, 0
			}
		}
		f.Origins = append(f.Origins, o)
	}
}
