// SPDX-License-Identifier: Apache-2.0

package hidden

import (
	"context"
	"slices"
	"testing"

	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/collector"
)

// machine is what the views show, step by step: after each snapshot and each
// listing something may happen.
type machine struct {
	tasks  map[int32]uint64 // start times, by number
	hide   map[int32]bool   // from readdir
	cover  map[int32]bool   // from open
	unlist map[int32]bool   // from the task iterator
	only   map[int32]uint64 // in /proc only
	step   int
	then   map[int]func(*machine)
}

func (m *machine) next() {
	m.step++
	if do := m.then[m.step]; do != nil {
		do(m)
	}
}

func (m *machine) Snapshot(context.Context) (*collector.Snapshot, error) {
	defer m.next()
	s := &collector.Snapshot{Namespace: 9, Namespaces: []collector.Namespace{{ID: 9, Inode: 1}}, Walked: true}
	for nr, start := range m.tasks {
		id := collector.ID(nr)
		s.Pids = append(s.Pids, collector.Pid{ID: id, Namespace: 9, Numbers: []int32{nr}, HasPID: true})
		s.IDR = append(s.IDR, id)
		if !m.unlist[nr] {
			s.Tasks = append(s.Tasks, collector.Task{ID: id + 1000, StartTime: start, Pid: id, TGID: id, PGID: id, SID: id})
		}
	}
	return s, nil
}

func (m *machine) List() (map[int32]bool, error) {
	defer m.next()
	listed := make(map[int32]bool)
	for nr := range m.tasks {
		listed[nr] = !m.hide[nr]
	}
	for nr := range m.only {
		listed[nr] = true
	}
	return listed, nil
}

func (m *machine) Open(nr int32) (uint64, bool) {
	if start, ok := m.only[nr]; ok {
		return start, true
	}
	start, ok := m.tasks[nr]
	return start, ok && !m.cover[nr]
}

func (m *machine) Kill(nr int32) bool      { _, ok := m.tasks[nr]; return ok }
func (m *machine) PidfdOpen(nr int32) bool { return m.Kill(nr) }

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name   string
		m      machine
		want   []int32
		unseen []string
	}{
		{"nothing", machine{}, nil, nil},
		{"not listed", machine{hide: map[int32]bool{2: true}}, []int32{2}, []string{Readdir}},
		{"covered", machine{cover: map[int32]bool{2: true}}, []int32{2}, []string{OpenProc}},
		{"not shown by the iterator", machine{unlist: map[int32]bool{2: true}}, []int32{2}, []string{Tasks}},
		{"not shown by the iterator, and covered", machine{unlist: map[int32]bool{2: true}, cover: map[int32]bool{2: true}},
			[]int32{2}, []string{Tasks, OpenProc}},
		{"only in /proc", machine{only: map[int32]uint64{7: 1}}, []int32{7}, []string{IDR, Tasks, KillZero, PidfdOpen}},
		// Steps: snapshot 1, listing 2, snapshot 3, listing 4, snapshot 5.
		{"born after the first look", machine{then: map[int]func(*machine){
			1: func(m *machine) { m.tasks[5] = 9 },
		}}, nil, nil},
		{"ended before it could be listed", machine{then: map[int]func(*machine){
			1: func(m *machine) { delete(m.tasks, 2) },
			2: func(m *machine) { m.tasks[2] = 77 }, // another one with the same number and address
		}}, nil, nil},
		{"missed once", machine{hide: map[int32]bool{2: true}, then: map[int]func(*machine){
			3: func(m *machine) { m.hide = nil },
		}}, nil, nil},
		{"hides from the second round on", machine{then: map[int]func(*machine){
			3: func(m *machine) { m.hide = map[int32]bool{2: true} },
		}}, nil, nil},
		{"/proc shows who has just ended", machine{only: map[int32]uint64{7: 1}, then: map[int]func(*machine){
			4: func(m *machine) { m.tasks[7] = 1 },
		}}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := test.m
			m.tasks = map[int32]uint64{1: 1, 2: 2, 3: 3}
			c := Checker{Snapshot: m.Snapshot, Views: &m, Whole: true}
			found, err := c.Check(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var numbers []int32
			for _, p := range found {
				numbers = append(numbers, p.Number)
				// Whom the kernel keeps from the auditor alone is not hidden.
				f, alone := p.Finding(), slices.Equal(test.unseen, []string{Tasks})
				if (f.Kind == finding.Unshown && f.Severity == finding.Info) != alone ||
					(f.Kind == finding.Hidden && f.Severity == finding.Critical) == alone {
					t.Errorf("not seen by %q: a finding of %s, %s", p.Unseen, f.Severity, f.Kind)
				}
				if !slices.Equal(p.Unseen, test.unseen) {
					t.Errorf("not seen by %q, want %q", p.Unseen, test.unseen)
				}
			}
			if !slices.Equal(numbers, test.want) {
				t.Errorf("found %v, want %v", numbers, test.want)
			}
		})
	}
}
