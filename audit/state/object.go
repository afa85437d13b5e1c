// SPDX-License-Identifier: Apache-2.0

package state

import (
	"github.com/pidgraft/pidgraft/audit/event"
	"github.com/pidgraft/pidgraft/collector"
)

// Object is a pid object, with who uses it.
type Object struct {
	ID collector.ID
	// Namespace is its own, innermost one; nil while it is only known as
	// something that a process uses.
	Namespace *Namespace
	// Numbers has one number per level, the outermost namespace's first.
	Numbers []int32
	// Nr is its number in the namespace that is audited, or 0.
	Nr int32

	Carrier *Task      // whose own number it is; nil: a ghost
	Process *Process   // whose thread group it is
	Group   []*Process // processes of the group that it is
	Session []*Process // processes of the session that it is
	// Held: a snapshot saw it taken, by the namespace's idr, without seeing
	// who uses it: a task that the kernel does not show, or one outside.
	Held bool

	forgotten bool // not in the indices any more
}

// Ghost reports whether no task carries the object any more. Of one that has no
// number in the namespace that is audited, as the session that a container's init
// inherited, that is not known: its carrier is outside, if there is one.
func (o *Object) Ghost() bool { return o.Carrier == nil && !o.Held && o.Nr > 0 }

// Idle reports whether it is the object of the idle tasks, number 0 of the
// initial namespace: in no idr, never given out, and the session of all kernel
// threads. No pass shows its carriers.
func (o *Object) Idle() bool { return len(o.Numbers) == 1 && o.Numbers[0] == 0 }

// used reports whether anything keeps the object.
func (o *Object) used() bool {
	return o.Carrier != nil || o.Process != nil || len(o.Group) > 0 || len(o.Session) > 0 || o.Held
}

// Namespace is a pid namespace.
type Namespace struct {
	ID     collector.ID
	Inode  uint32
	Level  int // below the initial one
	Parent *Namespace
	// Own is how many objects live in it, Visible how many have a number in
	// it: those of all namespaces below included.
	Own, Visible int
	// Births is how many numbers of it were given out since the state began.
	Births uint64
	// children are the namespaces right below it that are known.
	children int
}

// numberKey is a number of a namespace.
type numberKey struct {
	namespace collector.ID
	nr        int32
}

// object is the object with an identity, whatever is known of it.
func (s *State) object(id collector.ID) *Object {
	if id == 0 {
		return nil
	}
	o := s.objects[id]
	if o == nil {
		o = &Object{ID: id}
		s.objects[id] = o
	}
	return o
}

// described is the object with an identity and these numbers. If the identity
// had other numbers before, or one of the numbers another identity, that other
// object has been freed.
func (s *State) described(id collector.ID, numbers []event.Number) *Object {
	if o := s.objects[id]; o != nil && o.Namespace != nil {
		if s.is(o, numbers) {
			return o
		}
		s.retire(o)
	}
	// Before the object is looked up: it may have been kept by one of these.
	for _, n := range numbers {
		if other := s.numbers[numberKey{n.Namespace, n.Nr}]; other != nil {
			s.retire(other)
		}
	}
	ns := s.namespace(numbers)
	o := s.object(id)
	s.describe(o, ns, numbers)
	return o
}

// is reports whether an object has these numbers.
func (s *State) is(o *Object, numbers []event.Number) bool {
	if len(numbers) != len(o.Numbers) {
		return false
	}
	ns := o.Namespace
	for i := len(numbers) - 1; i >= 0; i-- {
		n := numbers[i]
		if ns == nil || n.Nr != o.Numbers[i] || n.Namespace != ns.ID || n.Inode != ns.Inode {
			return false
		}
		ns = ns.Parent
	}
	return true
}

// describe says what an object's numbers are, which nobody else has.
func (s *State) describe(o *Object, ns *Namespace, numbers []event.Number) {
	o.Namespace = ns
	o.Numbers = make([]int32, len(numbers))
	ns.Own++
	for i := len(numbers) - 1; i >= 0; i-- {
		o.Numbers[i] = numbers[i].Nr
		s.numbers[numberKey{numbers[i].Namespace, numbers[i].Nr}] = o
		ns.Visible++
		ns = ns.Parent
	}
	if s.level < len(numbers) {
		o.Nr = numbers[s.level].Nr
	}
}

// namespace is the innermost namespace of these numbers, which is made known
// with its ancestors.
func (s *State) namespace(numbers []event.Number) *Namespace {
	for s.retireOther(numbers) {
	}
	var parent *Namespace
	for level, n := range numbers {
		ns := s.namespaces[n.Namespace]
		if ns == nil {
			ns = &Namespace{ID: n.Namespace, Inode: n.Inode, Level: level, Parent: parent}
			s.namespaces[n.Namespace] = ns
			if parent != nil {
				parent.children++
			}
		}
		parent = ns
	}
	return parent
}

// retireOther retires a namespace whose address means another one in these
// numbers, if there is one. Addresses and inodes both come back, at once and
// together, so its place in the tree counts too.
func (s *State) retireOther(numbers []event.Number) bool {
	var parent *Namespace
	unknown := false
	for level, n := range numbers {
		ns := s.namespaces[n.Namespace]
		switch {
		case ns == nil:
			unknown = true
		case unknown || ns.Inode != n.Inode || ns.Parent != parent || ns.Level != level:
			s.retireNamespace(ns)
			return true
		}
		parent = ns
	}
	return false
}

// retireNamespace is for a namespace whose address means another one by now. An
// object keeps its namespace, so all its objects have been freed.
func (s *State) retireNamespace(old *Namespace) {
	for _, o := range s.objects {
		for ns := o.Namespace; ns != nil; ns = ns.Parent {
			if ns == old {
				s.retire(o)
				break
			}
		}
	}
	if s.namespaces[old.ID] == old {
		delete(s.namespaces, old.ID)
	}
}

// retire is for an object that has been freed, as its address or one of its
// numbers means something else by now. So it had no users any more: who carried
// it has been released, or is in the middle of an exec that took the number from
// it; who had it as group or session has left it. Events about all of them are
// under way, and until then they keep what else they use.
func (s *State) retire(o *Object) {
	s.forget(o)
	o.Held = false
	for _, users := range [][]*Process{o.Group, o.Session} {
		for _, p := range users {
			s.suspect(p.Object)
		}
	}
}

// release forgets an object that nothing uses any more.
func (s *State) release(o *Object) {
	if o != nil && !o.used() {
		s.forget(o)
	}
}

// forget takes an object out of the indices. It may still have users, if it was
// retired, until they are known better.
func (s *State) forget(o *Object) {
	if s.objects[o.ID] == o {
		delete(s.objects, o.ID)
	}
	if o.Namespace == nil || o.forgotten {
		return
	}
	o.forgotten = true
	ns := o.Namespace
	for i := len(o.Numbers) - 1; i >= 0; i-- {
		key := numberKey{ns.ID, o.Numbers[i]}
		if s.numbers[key] == o {
			delete(s.numbers, key)
		}
		ns.Visible--
		ns = ns.Parent
	}
	o.Namespace.Own--
	s.leave(o.Namespace)
}

// leave forgets a namespace without objects, and ancestors that had no other
// reason to be known.
func (s *State) leave(ns *Namespace) {
	for ns != nil && ns.Visible == 0 && ns.children == 0 {
		if s.namespaces[ns.ID] == ns {
			delete(s.namespaces, ns.ID)
		}
		if ns.Parent != nil {
			ns.Parent.children--
		}
		ns = ns.Parent
	}
}
