// SPDX-License-Identifier: Apache-2.0

package forest

import "fmt"

// Origin is how a process was born, as an auditor saw it (pidgraft audit
// --state): the end of a history does not show it. A restore ends in the same
// forest with and without; the planner goes by it where it can.
type Origin struct {
	// By is the process of the forest that bore it, or that bore the first of
	// those in Between. Outside: nobody in the forest did. Null: it is not
	// known, or it is one that Departed.
	By Tag
	// Departed is the index in Forest.Departed of the process that bore it and
	// has been reaped since, or None.
	Departed int
	// Between is how many more there were from that one to this: each bore the
	// next, has been reaped, and bore nobody else of whom anything is left.
	Between uint32
	// Session and Group are those that it was born in. Null: not known, or
	// there is no such object any more.
	Session, Group Tag
}

// Unknown is the Origin of whom nobody saw being born, and of threads.
func Unknown() Origin { return Origin{By: Null, Departed: None, Session: Null, Group: Null} }

// Known reports whether anything is known of who bore it.
func (o *Origin) Known() bool { return o.By != Null || o.Departed != None }

// Departed is a process that has been reaped and is the birth ancestor of more
// than one process of the forest, or led a ghost.
type Departed struct {
	Origin
	// Object is its pid object, if that is a ghost of the forest; else Outside.
	Object Tag
}

// origins checks what is told of births.
func (v *validator) origins() *Invalid {
	f := v.f
	if len(f.Origins) == 0 {
		if len(f.Departed) > 0 {
			return invalid(RuleOrigin, "history", "%d processes bore, and nobody was born of them", len(f.Departed))
		}
		return nil
	}
	if len(f.Origins) != len(f.Tasks) {
		return invalid(RuleOrigin, "history", "it tells of %d tasks, and there are %d", len(f.Origins), len(f.Tasks))
	}
	for i := range f.Departed {
		d := &f.Departed[i]
		e := v.origin(&d.Origin, func(format string, args ...any) *Invalid {
			return invalid(RuleOrigin, "departed process", "number %d %s", i, fmt.Sprintf(format, args...))
		})
		switch {
		case e != nil:
			return e
		case d.Departed >= i:
			return invalid(RuleOrigin, "departed process", "number %d was born of number %d, which does not come before it", i, d.Departed)
		case d.Object != Outside && (!d.Object.IsPid() || int(d.Object) > len(f.Pids) || v.taskOf[d.Object-1] != None):
			return invalid(RuleOrigin, "departed process", "number %d led %v, which is no ghost of the forest", i, d.Object)
		}
	}
	for i := range f.Origins {
		t, o := &f.Tasks[i], &f.Origins[i]
		reject := func(format string, args ...any) *Invalid { return v.task(RuleOrigin, i, format, args...) }
		switch e := v.origin(o, reject); {
		case e != nil:
			return e
		case !t.IsLeader() && *o != Unknown():
			return reject("it is a thread, and has an origin other than its process")
		case i == 0 && (o.By.IsPid() || o.Departed != None):
			return reject("it is the root, and was born in the forest")
		case o.By == t.TGID || o.Session == t.TGID || o.Group == t.TGID:
			return reject("it was born of itself, or in a session or group of its own")
		case t.SID != t.TGID && o.Session != Null && o.Session != t.SID:
			return reject("it was born in session %v and is in %v without leading it", o.Session, t.SID)
		}
	}
	return v.descent()
}

// origin checks one, and that it names what there is.
func (v *validator) origin(o *Origin, reject func(string, ...any) *Invalid) *Invalid {
	f := v.f
	object := func(t Tag) bool { return !t.IsPid() || int(t) <= len(f.Pids) }
	special := func(t Tag) bool { return t.IsPid() || t == Outside || t == Null || t == Inherited }
	switch {
	case o.Departed < None || o.Departed >= len(f.Departed):
		return reject("was born of departed process %d of %d", o.Departed, len(f.Departed))
	case !object(o.By) || !special(o.By) || o.By == Inherited || o.By.IsPid() && !v.process(o.By):
		return reject("was born of %v, which is no process of the forest", o.By)
	case o.Departed != None && o.By != Null:
		return reject("was born of %v and of departed process %d", o.By, o.Departed)
	case !o.Known() && o.Between > 0:
		return reject("has %d processes between itself and nobody", o.Between)
	case !object(o.Session) || !special(o.Session) || !object(o.Group) || !special(o.Group):
		return reject("was born in session %v and group %v, which are not in the forest", o.Session, o.Group)
	}
	return nil
}

// process reports whether an object is the thread group of a task.
func (v *validator) process(t Tag) bool {
	i := v.taskOf[t-1]
	return i != None && v.f.Tasks[i].IsLeader()
}

// descent refuses those who are their own ancestors.
func (v *validator) descent() *Invalid {
	f := v.f
	const seen = -2 // no index: its ancestors have been looked at
	mark := make([]int32, len(f.Tasks))
	for i := range f.Tasks {
		for at := i; mark[at] != seen; {
			if mark[at] == int32(i)+1 {
				return v.task(RuleOrigin, at, "it is its own ancestor")
			}
			mark[at] = int32(i) + 1
			up := v.bore(&f.Origins[at])
			if up == None {
				break
			}
			at = up
		}
		for at := i; at != None && mark[at] != seen; at = v.bore(&f.Origins[at]) {
			mark[at] = seen
		}
	}
	return nil
}

// bore is the task of the closest ancestor that is still there, or None.
func (v *validator) bore(o *Origin) int {
	for o.Departed != None {
		o = &v.f.Departed[o.Departed].Origin
	}
	if !o.By.IsPid() {
		return None
	}
	return int(v.taskOf[o.By-1])
}
