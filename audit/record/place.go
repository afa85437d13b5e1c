// SPDX-License-Identifier: Apache-2.0

package record

import "github.com/pidgraft/pidgraft/audit/container"

// Name says of everything in a record which container it is in, by the inode of
// its pid namespace.
func (r *Record) Name(of func(inode uint32) container.Name) {
	switch {
	case r.Event != nil:
		r.Event.Task.name(of)
		r.Event.Creator.name(of)
	case r.Snapshot != nil:
		for i := range r.Snapshot.Namespaces {
			r.Snapshot.Namespaces[i].Name(of)
		}
	case r.Recovered != nil:
		for _, c := range r.Recovered.Changes {
			c.Task.name(of)
		}
	case r.Finding != nil:
		r.Finding.Name(of)
	}
}

// Name says which containers a finding is about.
func (f *Finding) Name(of func(inode uint32) container.Name) {
	f.Place = place(of(f.Namespace))
	f.Culprit.name(of)
	f.Creator.name(of)
	f.Task.name(of)
}

// Name says which container's a budget is.
func (b *Budget) Name(of func(inode uint32) container.Name) {
	n := of(b.Inode)
	b.Place, b.Runtime = place(n), n.Runtime
}

func place(n container.Name) Place { return Place{Container: n.Container(), Pod: n.Pod} }

func (t *Task) name(of func(inode uint32) container.Name) {
	if t != nil {
		t.Place = place(of(t.Namespace))
	}
}

func (c *Creator) name(of func(inode uint32) container.Name) {
	if c != nil {
		c.Place = place(of(c.Namespace))
	}
}
