// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// refused are forests that are not planned, each with the kind of the refusal
// and a part of its reason. make returns the root if it is another; edit changes
// the forest into what the model cannot make.
var refused = []struct {
	name string
	mode forest.Mode
	make func(m machine, root model.TaskID) model.TaskID
	edit func(f *forest.Forest)
	opts plan.Options
	kind plan.Kind
	text string
}{
	{name: "traced", edit: func(f *forest.Forest) { f.Tasks[1].State = forest.Traced },
		kind: plan.Unsupported, text: "detach the tracer"},
	{name: "core dump", edit: func(f *forest.Forest) { f.Tasks[1].State, f.Tasks[1].ExitCode = forest.Zombie, 0x8b },
		kind: plan.Unsupported, text: "only a real dump"},
	{name: "killed by what does not kill", edit: func(f *forest.Forest) { f.Tasks[1].State, f.Tasks[1].ExitCode = forest.Zombie, forest.SIGCHLD },
		kind: plan.Unreachable, text: "does not kill"},
	{name: "dead leader killed alone", make: func(m machine, root model.TaskID) model.TaskID {
		a := m.fork(root, 0)
		m.fork(a, model.Thread)
		m.ok(m.k.ExitThread(a, 0))
		return root
	}, edit: func(f *forest.Forest) { f.Tasks[2].ExitCode = 31 },
		kind: plan.Unsupported, text: "while other threads live"},
	{name: "root's exit signal", edit: func(f *forest.Forest) { f.Tasks[0].ExitSignal = 10 },
		kind: plan.Unsupported, text: "exit signal is 10"},
	{name: "entrant that would kill", make: func(m machine, root model.TaskID) model.TaskID { m.enter(root); return root },
		edit: func(f *forest.Forest) { f.Tasks[2].ExitSignal = 9 },
		kind: plan.Unsupported, text: "would end or stop its parent"},
	{name: "session outside", mode: forest.Subtree, edit: func(f *forest.Forest) { f.Tasks[1].SID = forest.Outside },
		kind: plan.Unsupported, text: "session is outside"},
	{name: "root inside twice", make: func(m machine, _ model.TaskID) model.TaskID {
		a := m.fork(model.Outsider, 0)
		m.unshare(a, model.NewUser)
		m.maps(a)
		b := m.fork(a, inside)
		m.fork(b, 0)
		return b
	}, kind: plan.Unsupported, text: "nested more than once"},
	{name: "init outside its owner", make: func(m machine, root model.TaskID) model.TaskID {
		m.maps(m.fork(root, inside))
		return root
	}, edit: func(f *forest.Forest) { f.Tasks[2].UserNamespace = 0 },
		kind: plan.Unsupported, text: "outside the user namespace that owns"},
	{name: "owner without an id", make: func(m machine, root model.TaskID) model.TaskID {
		a := m.fork(root, 0)
		m.unshare(a, model.NewUser)
		m.maps(a)
		m.unshare(a, model.NewUser)
		return root
	}, edit: func(f *forest.Forest) { f.UserNamespaces[2].OwnerUID = 1 << 20 },
		kind: plan.Unreachable, text: "does not map"},
	{name: "ids without a name", make: func(m machine, root model.TaskID) model.TaskID {
		init := m.fork(root, inside)
		m.maps(init)
		m.exit(m.forkSignal(init, 0, 10))
		return root
	}, edit: func(f *forest.Forest) { f.Tasks[3].UID = 1 << 20 },
		kind: plan.Unsupported, text: "is not mapped where it was born"},
	{name: "cursor that never moved", make: func(m machine, root model.TaskID) model.TaskID {
		m.unshare(root, model.NewUser)
		m.fork(root, model.Thread)
		return root
	}, edit: func(f *forest.Forest) { f.Namespaces[0].Cursor = 0 },
		kind: plan.Unsupported, text: "must come from an id cursor"},
	{name: "pid_max of its own", edit: func(f *forest.Forest) { f.Namespaces[0].PidMax = 400 },
		kind: plan.NotHere, text: "pid_max of its own"},
	{name: "no number left", make: func(m machine, root model.TaskID) model.TaskID {
		a := m.fork(root, model.NewPID)
		m.setns(root, a)
		m.kill(a, 9)
		m.reap(root, a)
		return root
	}, opts: plan.Options{PidMax: 3, OwnPidMax: true}, kind: plan.NotHere, text: "raise pid_max"},
	{name: "object of nobody", edit: func(f *forest.Forest) {
		f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{77}})
	}, kind: plan.Unsupported, text: "processes outside the forest only"},
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			m := machine{t, model.New()}
			flags := model.NewPID
			if c.mode == forest.Subtree {
				flags = 0
			}
			root := m.fork(model.Outsider, flags)
			m.fork(root, 0)
			if c.make != nil {
				root = c.make(m, root)
			}
			f, err := m.k.Forest(root, c.mode)
			if err != nil {
				t.Fatal(err)
			}
			if c.edit != nil {
				c.edit(f)
			}
			if c.opts == (plan.Options{}) && c.kind != plan.NotHere {
				c.opts = plan.Options{PidMax: 4 << 20, OwnPidMax: true}
			}
			_, err = plan.Make(f, c.opts)
			var rs plan.Refusals
			if !errors.As(err, &rs) {
				t.Fatalf("it is planned: %v", err)
			}
			if rs[0].Kind != c.kind || !strings.Contains(rs.Error(), c.text) {
				t.Errorf("refused as %v: %v", rs[0].Kind, rs)
			}
		})
	}
}
