// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"time"

	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
)

// Some changes have no event: a new parent, and what follows from somebody
// else's end. Whoever may be concerned is read again, until it is seen to have
// settled.
const (
	firstReread = 5 * time.Millisecond
	leaveReread = 250 * time.Millisecond
	lastReread  = time.Second
	// Whose parent is outside is read again this often: of its parent's exit
	// there is no event.
	outsideReread = 2 * time.Second
	// rereads is how many tasks are read again at a time; one costs some
	// microseconds.
	rereads = 512
)

// refreshes are pid objects whose carriers are to be read again.
type refreshes map[collector.ID]*reread

type reread struct {
	due   uint64
	delay time.Duration
	asked bool
}

// add puts a task on the list, or has it read again from the start.
func (r refreshes) add(t *state.Task, now uint64) {
	r[t.Object.ID] = &reread{due: now + uint64(firstReread), delay: firstReread}
}

// leaving: if the task is still there after a while, it has become a zombie, or
// is stuck.
func (r refreshes) leaving(t *state.Task, now uint64) {
	r[t.Object.ID] = &reread{due: now + uint64(leaveReread), delay: leaveReread}
}

// answered: the task has been read. It is read again while its parent is about
// to leave it, and while it is about to leave itself.
func (r refreshes) answered(t *state.Task, now uint64) {
	entry := r[t.Object.ID]
	if entry == nil {
		return
	}
	orphan := t.Parent != nil && t.Parent.Exiting && !t.Parent.Zombie
	// The end of one that began to exit before anybody looked has no event.
	leaving := t.Exiting && (!t.Zombie || t.Since == 0)
	if !orphan && !leaving {
		delete(r, t.Object.ID)
		return
	}
	entry.asked = false
	entry.delay = min(2*entry.delay, lastReread)
	entry.due = now + uint64(entry.delay)
}

// watch is for a new state: those are read again whose end will have no event
// or who may turn into zombies, and those whose parent was about to leave them, or had left, when the pass
// came by.
func (f *Follower) watch() {
	now := f.src.Now()
	for t := range f.state.Tasks() {
		switch {
		case t.Exiting && (t.Since == 0 || t.Leader() && !t.Zombie):
			f.refresh.leaving(t, now)
		case t.Leader() && (t.Parent == nil || t.Parent.Exiting):
			f.refresh.add(t, now)
		}
	}
}

// reread asks for what is due.
func (f *Follower) reread() error {
	if f.state == nil {
		return nil
	}
	now := f.src.Now()
	for _, t := range f.state.Suspects() {
		f.refresh.add(t, now)
	}
	if now-f.askedOutside >= uint64(outsideReread) {
		f.askedOutside = now
		for t := range f.state.Tasks() {
			if t.Leader() && t.Parent == nil && !t.Kernel && !t.Exiting && f.refresh[t.Object.ID] == nil {
				f.refresh.add(t, now)
			}
		}
	}
	asked := 0
	for id, entry := range f.refresh {
		if entry.due > now {
			continue
		}
		if asked == rereads {
			break
		}
		asked++
		o := f.state.Object(id)
		if o == nil || o.Carrier == nil || o.Nr <= 0 || entry.asked {
			// Gone, or the answer was lost: a snapshot will tell.
			delete(f.refresh, id)
			continue
		}
		found, err := f.src.Refresh(o.Nr)
		if err != nil {
			return err
		}
		if !found {
			f.vanished(o.Carrier)
			delete(f.refresh, id)
			continue
		}
		entry.asked, entry.due = true, now+uint64(time.Second)
	}
	return nil
}

// vanished is for a task whose number nobody carries any more. If it was seen to
// exit, the event of its end is on its way; if it exited before anybody looked,
// there will be none.
func (f *Follower) vanished(t *state.Task) {
	if t.Exiting && t.Since == 0 {
		f.state.Remove(t.ID, t.StartTime)
	}
}

// Reread has a task read again.
func (f *Follower) Reread(t *state.Task) { f.refresh.add(t, f.src.Now()) }
