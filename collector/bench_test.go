// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
)

// big is a container of n tasks: every tenth a thread, every hundredth the
// init of a nested namespace in which the next fifty live.
func big(n int) *forest.Forest {
	f := &forest.Forest{
		Mode: forest.Container, Cut: forest.Cut{Walked: true},
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Namespaces:     []forest.Namespace{{Parent: -1, Cursor: 7, Inode: 1}},
	}
	add := func(ns int, numbers ...int32) forest.Tag {
		f.Pids = append(f.Pids, forest.Pid{Namespace: ns, Numbers: numbers})
		return forest.Tag(len(f.Pids))
	}
	task := func(tag, tgid, parent forest.Tag) {
		sig := int32(forest.SIGCHLD)
		if tag != tgid {
			sig = forest.ExitSignalThread
		}
		f.Tasks = append(f.Tasks, forest.Task{Pid: tag, TGID: tgid, PGID: 1, SID: 1, Parent: parent, ParentThread: parent,
			ExitSignal: sig, ChildNamespace: forest.SameNamespace, Comm: fmt.Sprint("task-", tag), StartTime: uint64(tag)})
	}
	root := add(0, 1)
	task(root, root, forest.Outside)
	for i := int32(2); len(f.Tasks) < n; i++ {
		if i%100 != 0 {
			tag := add(0, i)
			task(tag, tag, root)
			if i%10 == 0 {
				task(add(0, 1<<20+i), tag, root)
			}
			continue
		}
		f.Namespaces = append(f.Namespaces, forest.Namespace{Level: 1, Inode: uint32(i)})
		ns := len(f.Namespaces) - 1
		nit := add(ns, i, 1)
		task(nit, nit, root)
		for k := int32(2); k < 52; k++ {
			tag := add(ns, 1<<21+i*50+k, k)
			task(tag, tag, nit)
		}
	}
	return f
}

func TestBig(t *testing.T) {
	f := big(5000)
	g, err := Collect(liftForest(f, 2, 1), forest.Container, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := Difference(f, g); d != "" {
		t.Error(d)
	}
}

func BenchmarkCollect20000(b *testing.B) {
	s := liftForest(big(20000), 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Collect(s, forest.Container, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDifference20000(b *testing.B) {
	s := liftForest(big(20000), 1, 1)
	f, err := Collect(s, forest.Container, Options{})
	if err != nil {
		b.Fatal(err)
	}
	g, _ := Collect(s, forest.Container, Options{})
	for b.Loop() {
		if d := Difference(f, g); d != "" {
			b.Fatal(d)
		}
	}
}
