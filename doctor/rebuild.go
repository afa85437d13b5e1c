// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// smallest is a container of an init and a child with a number of choice.
func smallest() *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: 8}},
		Pids:           []forest.Pid{{Numbers: []int32{1}}, {Numbers: []int32{7}}},
		Cut:            forest.Cut{Walked: true},
	}
	for _, t := range []forest.Task{{Pid: 1, Comm: "init"}, {Pid: 2, Parent: 1, ParentThread: 1, Comm: "child"}} {
		t.TGID, t.PGID, t.SID = t.Pid, forest.Inherited, forest.Inherited
		t.ExitSignal, t.ChildNamespace = forest.SIGCHLD, forest.SameNamespace
		f.Tasks = append(f.Tasks, t)
	}
	return f
}

var errEnough = errors.New("it could be made")

// tryRebuild restores the smallest forest up to the moment of the commit, and
// undoes it.
func tryRebuild(_ *Doctor, ctx context.Context) (string, error) {
	f := smallest()
	p, err := restore.Plan(f, plan.Options{PidMax: forest.MaxNumber + 1, OwnPidMax: true})
	if err != nil {
		return "", err
	}
	_, err = restore.Run(ctx, f, p, restore.Options{Detach: true,
		Verify: func(context.Context, int) error { return errEnough }})
	if errors.Is(err, errEnough) {
		return "", nil
	}
	return "", err
}
