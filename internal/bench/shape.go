// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/image"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// flat starts an init with n children that sleep.
func flat(n int) (*testforest.Forest, error) {
	f, err := testforest.New()
	if err != nil {
		return nil, err
	}
	err = f.Run(fmt.Sprintf("outside fork init newpid\ninit sleepers %d", n))
	if err != nil {
		return nil, errors.Join(err, f.Kill())
	}
	return f, nil
}

// grower makes forests that never were: containers of n tasks beside the init.
// The tasks come in the order in which a forest has them.
type grower struct {
	f    *forest.Forest
	next []int32 // numbers of the namespaces
}

func grow() *grower {
	return &grower{f: &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}},
		Cut:            forest.Cut{Walked: true},
	}}
}

// namespace begins one, below that before it.
func (g *grower) namespace() int {
	n := len(g.next)
	g.f.Namespaces = append(g.f.Namespaces, forest.Namespace{Parent: n - 1, Level: n})
	g.next = append(g.next, 1)
	return n
}

// object gives the next numbers down to a namespace.
func (g *grower) object(ns int) forest.Tag {
	p := forest.Pid{Namespace: ns}
	for level := range ns + 1 {
		p.Numbers = append(p.Numbers, g.next[level])
		g.next[level]++
	}
	g.f.Pids = append(g.f.Pids, p)
	return forest.Tag(len(g.f.Pids))
}

// task makes a process, which has its parent's group and session.
func (g *grower) task(ns int, parent *forest.Task) *forest.Task {
	t := forest.Task{
		Pid: g.object(ns), ExitSignal: forest.SIGCHLD, ChildNamespace: forest.SameNamespace,
		Comm: "sleeper", StartTime: uint64(len(g.f.Tasks)+1) * 100_000,
	}
	t.TGID, t.PGID, t.SID = t.Pid, t.Pid, t.Pid
	if parent != nil {
		t.Parent, t.ParentThread, t.PGID, t.SID = parent.TGID, parent.Pid, parent.PGID, parent.SID
	}
	g.f.Tasks = append(g.f.Tasks, t)
	return &g.f.Tasks[len(g.f.Tasks)-1]
}

func (g *grower) done() *forest.Forest {
	for i := range g.f.Namespaces {
		g.f.Namespaces[i].Cursor = uint32(g.next[i])
	}
	return g.f
}

func growFlat(n int) *forest.Forest {
	g := grow()
	root := *g.task(g.namespace(), nil)
	for range n {
		g.task(0, &root)
	}
	return g.done()
}

// growChain has each task as the child of the one before.
func growChain(n int) *forest.Forest {
	g := grow()
	last := *g.task(g.namespace(), nil)
	for range n {
		last = *g.task(0, &last)
	}
	return g.done()
}

// growRandom has a child below any task; one in ten leads a session, two a
// group.
func growRandom(n int) *forest.Forest {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	below := make([][]int, n+1)
	for i := 1; i <= n; i++ {
		p := r.IntN(i)
		below[p] = append(below[p], i)
	}
	g := grow()
	type todo struct {
		i      int
		parent *forest.Task
	}
	g.namespace()
	for stack := []todo{{i: 0}}; len(stack) > 0; {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t := g.task(0, at.parent)
		if at.parent != nil {
			switch k := r.IntN(10); {
			case k == 0:
				t.PGID, t.SID = t.Pid, t.Pid
			case k <= 2:
				t.PGID = t.Pid
			}
		}
		self := *t
		for _, c := range below[at.i] {
			stack = append(stack, todo{c, &self})
		}
	}
	return g.done()
}

// growNested has its tasks evenly in a chain of namespaces.
func growNested(n, depth int) *forest.Forest {
	g := grow()
	root := *g.task(g.namespace(), nil)
	for level := range depth {
		if level > 0 {
			root = *g.task(g.namespace(), &root)
		}
		for len(g.f.Tasks) < 1+n*(level+1)/depth {
			g.task(level, &root)
		}
	}
	return g.done()
}

// growThreads has one process beside the init, of n threads.
func growThreads(n int) *forest.Forest {
	g := grow()
	root := *g.task(g.namespace(), nil)
	leader := *g.task(0, &root)
	for range n - 1 {
		t := g.task(0, &root)
		t.TGID, t.ExitSignal = leader.Pid, forest.ExitSignalThread
	}
	return g.done()
}

// growGhosts has n tasks, each in a session whose leader is gone.
func growGhosts(n int) *forest.Forest {
	g := grow()
	root := *g.task(g.namespace(), nil)
	for range n {
		t := g.task(0, &root)
		t.PGID = g.object(0)
		t.SID = t.PGID
	}
	return g.done()
}

// write makes an image of a forest.
func (b *bench) write(name string, f *forest.Forest) (string, error) {
	file, err := os.Create(filepath.Join(b.dir, name))
	if err != nil {
		return "", err
	}
	return file.Name(), errors.Join(image.Write(file, f), file.Close())
}

// restore times a restore, and gives the root's number.
func (b *bench) restore(image string, flags ...string) (sample, int, error) {
	pidfile := image + ".pid"
	s, err := command(b.pidgraft, append(append([]string{"restore", "-d", "--pidfile", pidfile}, flags...), image)...)
	if err != nil {
		return s, 0, err
	}
	// What it was when the process ended does not count the tasks it made.
	s.cpu, s.memory = 0, 0
	text, err := os.ReadFile(pidfile)
	if err != nil {
		return s, 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	return s, pid, err
}

// end ends what was restored.
func end(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return err
	}
	_, err := unix.Wait4(pid, nil, 0, nil)
	return err
}

// alive restores a forest that never was, for something to be done with it.
func (b *bench) alive(name string, f *forest.Forest, do func(root int) error) (err error) {
	image, err := b.write(name, f)
	if err != nil {
		return err
	}
	_, pid, err := b.restore(image, "--verify=false")
	if err != nil {
		return err
	}
	return errors.Join(do(pid), end(pid))
}
