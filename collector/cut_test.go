// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// What one of the two views has and the other has not is no cut.
func TestIDRDisagrees(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	a := c.task(c.root, c.ns, "a", 30, 5)
	for _, tt := range []struct {
		name string
		edit func(*Snapshot)
		text string
	}{
		{"a task without its number", func(s *Snapshot) {
			for i, id := range s.IDR {
				if id == a.Pid {
					s.IDR = append(s.IDR[:i], s.IDR[i+1:]...)
					break
				}
			}
		}, "number 5 is used by a task, but is not taken"},
		{"a number without its task", func(s *Snapshot) {
			for i := range s.Tasks {
				if s.Tasks[i].ID == a.ID {
					s.Tasks = append(s.Tasks[:i], s.Tasks[i+1:]...)
					break
				}
			}
		}, "number 5 is taken, but its task was not seen"},
		{"a number that nobody uses", func(s *Snapshot) {
			s.Pids = append(s.Pids, Pid{ID: 77, Namespace: c.ns.ID, Level: 1, Numbers: []int32{99, 9}})
			s.IDR = append(s.IDR, 77)
		}, "number 9 is taken"},
		{"a number of elsewhere", func(s *Snapshot) {
			s.Pids = append(s.Pids, Pid{ID: 77, Namespace: c.init.ID, Level: 0, Numbers: []int32{99}, HasPGID: true})
			s.IDR = append(s.IDR, 77)
		}, "number 99 is in the idr of a namespace that it is not in"},
	} {
		s := c.snapshot(c.root)
		tt.edit(s)
		_, err := Collect(s, forest.Container, Options{})
		if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// source plays a list of passes; the last repeats.
type source struct {
	passes  []func() *Snapshot
	changes []Changes // by pass, of the moment after it
	taken   int
	err     error
}

func (s *source) Snapshot(context.Context) (*Snapshot, error) {
	i := min(s.taken, len(s.passes)-1)
	s.taken++
	return s.passes[i](), s.err
}

func (s *source) Changes() (Changes, error) {
	if s.taken == 0 || len(s.changes) == 0 {
		return Changes{}, nil
	}
	return s.changes[min(s.taken, len(s.changes))-1], nil
}

func TestCut(t *testing.T) {
	c := newContainer()
	c.setsid(c.root)
	calm := func() *Snapshot { return c.snapshot(c.root) }
	renamed := func() *Snapshot {
		s := calm()
		for i := range s.Tasks {
			s.Tasks[i].Comm[0] = 'X'
		}
		return s
	}
	broken := func() *Snapshot {
		s := calm()
		s.Pids = nil
		return s
	}
	for _, tt := range []struct {
		name   string
		src    source
		opts   Options
		passes int
		text   string // of the error
		pauses []int
	}{
		{name: "calm", src: source{passes: []func() *Snapshot{calm}}, passes: 2},
		{name: "frozen", src: source{passes: []func() *Snapshot{calm}}, opts: Options{Method: forest.Frozen}, passes: 1},
		{name: "frozen, torn once", src: source{passes: []func() *Snapshot{broken, calm}},
			opts: Options{Method: forest.Frozen, Retries: 1}, passes: 2, pauses: []int{0}},
		{name: "an event in the first pass", src: source{passes: []func() *Snapshot{calm}, changes: []Changes{{Forks: 1}}},
			opts: Options{Retries: 1}, passes: 3},
		{name: "an event in the second pass", src: source{passes: []func() *Snapshot{calm}, changes: []Changes{{}, {Execs: 1}}},
			opts: Options{Retries: 2}, passes: 4},
		{name: "an event that nobody looked at", src: source{passes: []func() *Snapshot{calm}, changes: []Changes{{}, {Missed: 1}}},
			opts: Options{Retries: 2}, passes: 4},
		{name: "a change without an event", src: source{passes: []func() *Snapshot{calm, renamed}},
			opts: Options{Retries: 1}, passes: 3},
		{name: "torn between", src: source{passes: []func() *Snapshot{calm, broken, calm}},
			opts: Options{Retries: 2}, passes: 4, pauses: []int{0}},
		{name: "torn for long", src: source{passes: []func() *Snapshot{broken, broken, broken, calm}},
			opts: Options{Retries: 5}, passes: 5, pauses: []int{0, 1}},
		{name: "never calm", src: source{passes: []func() *Snapshot{calm},
			changes: []Changes{{Forks: 1}, {Forks: 2}, {Forks: 2, Exits: 2}, {Forks: 4, Exits: 2, Setsids: 1}}},
			opts: Options{Retries: 2}, passes: 4, text: "2 forks, 2 exits, 1 setsid"},
		{name: "never the same", src: source{passes: []func() *Snapshot{calm, renamed}}, passes: 2, text: "task 1 (Xnit): its name"},
		{name: "always torn", src: source{passes: []func() *Snapshot{broken}}, passes: 2, text: "was not seen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var pauses []int
			tt.opts.Pause = func(before int) { pauses = append(pauses, before) }
			f, err := Cut(context.Background(), &tt.src, forest.Container, tt.opts)
			if tt.src.taken != tt.passes {
				t.Errorf("%d passes, want %d", tt.src.taken, tt.passes)
			}
			if !slices.Equal(pauses, tt.pauses) {
				t.Errorf("pauses %v, want %v", pauses, tt.pauses)
			}
			switch {
			case tt.text == "" && (err != nil || len(f.Tasks) != 1 || f.Cut.Method != tt.opts.Method):
				t.Errorf("%v, %v", f, err)
			case tt.text != "" && (!errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), tt.text)):
				t.Errorf("error: %v", err)
			}
		})
	}
	bad := &source{passes: []func() *Snapshot{calm}, err: errors.New("iterator")}
	if _, err := Cut(context.Background(), bad, forest.Container, Options{Retries: 5}); !errors.Is(err, bad.err) || bad.taken != 1 {
		t.Errorf("a source that fails: %v after %d", err, bad.taken)
	}
}
