// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/audit/container"
	events "github.com/pidgraft/pidgraft/audit/source"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/loader"
)

// objects are all pid objects with a number in this process's pid namespace,
// once.
type objects struct {
	*state.State
	names *container.Names
	own   uint64 // inode of this process's pid namespace
	level int    // of that, below the initial one
	// notWalked says why objects that no task carries may be missing; nil: they
	// are there.
	notWalked error
}

// lookAtObjects makes one pass. Like ps it stops nothing: who came or went
// meanwhile may be in it or not.
func lookAtObjects(ctx context.Context, types *loader.Types) (_ *objects, err error) {
	o := &objects{}
	if o.own, err = inodeOf("/proc/self/ns/pid"); err != nil {
		return nil, err
	}
	s := beginStep("open", nil)
	defer func() { s.stop() }()
	l, err := loader.Open(loader.Target{Scope: loader.Machine, Unwatched: true, Types: types})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s.end()
	s = beginStep("look", seenBy(l))
	snap, err := l.Snapshot(ctx)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	s.end("tasks", len(snap.Tasks), "pids", len(snap.Pids))
	o.level, _ = l.Levels()
	o.notWalked = l.WalkError()
	if o.State, err = state.FromSnapshot(snap); err != nil {
		return nil, err
	}
	return o, o.name()
}

// name finds out whose the namespaces are.
func (o *objects) name() error {
	views, err := events.OpenProc("/proc")
	if err != nil {
		return err
	}
	defer views.Close()
	n := &naming{names: container.NewNames(o.level), views: views}
	n.take(o.State, n.read(n.names.Due(o.State, events.Now())))
	o.names = n.names
	return nil
}

// warn says what cannot be seen here.
func (o *objects) warn() {
	if o.notWalked != nil {
		slog.Warn(fmt.Sprintf("numbers that no task carries may be missing: %v", o.notWalked))
	}
}

// namespace is the pid namespace with an inode.
func (o *objects) namespace(inode uint64) (*state.Namespace, error) {
	for ns := range o.Namespaces() {
		if uint64(ns.Inode) == inode {
			return ns, nil
		}
	}
	return nil, fmt.Errorf("pid namespace %d: %w: nothing that can be seen from here lives in it", inode, loader.ErrNoProcess)
}

// within reports whether an object has a number in a namespace.
func within(o *state.Object, ns *state.Namespace) bool {
	for at := o.Namespace; at != nil; at = at.Parent {
		if at == ns {
			return true
		}
	}
	return false
}

// numberIn is N or N@NAMESPACE: a number in a pid namespace, by default this
// process's own.
type numberIn struct {
	number int32
	inode  uint64
}

// parseNumberIn reads N, or N@ and what --ns takes, or the id of a container; without
// N it is the init of that.
func parseNumberIn(arg string, own uint64) (n numberIn, err error) {
	number, where, there := strings.Cut(arg, "@")
	if there && number == "" {
		number = "1"
	}
	nr, err := strconv.ParseUint(number, 10, 32)
	if err != nil || nr == 0 || nr > forest.MaxNumber {
		return n, usageError{fmt.Errorf("%q is not a number of a pid namespace: 1 to %d; wanted is PID or PID@NAMESPACE", number, forest.MaxNumber)}
	}
	n = numberIn{int32(nr), own}
	if there {
		n.inode, err = parseWhere(where, own)
	}
	return n, err
}

// parseWhere reads what --ns takes, or the id of a container.
func parseWhere(s string, own uint64) (uint64, error) {
	// The first that a namespace can have is PROC_CGROUP_INIT_INO and the like
	// (include/linux/proc_ns.h), so what is less begins the id of a container.
	const first, bits = 0xEFFFFFF0, 32
	inode, err := strconv.ParseUint(s, 10, bits)
	if err == nil && inode >= first || strings.HasPrefix(s, "pid:[") || strings.ContainsRune(s, '/') {
		return parseNamespace(s)
	}
	return ofContainer(s, own)
}

// find is the object of a number.
func (o *objects) find(n numberIn) (*state.Object, error) {
	ns, err := o.namespace(n.inode)
	if err != nil {
		return nil, err
	}
	if found := o.Number(ns, n.number); found != nil {
		return found, nil
	}
	where := fmt.Sprintf("pid namespace %d", n.inode)
	if n.inode == o.own {
		where = "this pid namespace"
	}
	return nil, fmt.Errorf("%d in %s: %w: the number is free", n.number, where, loader.ErrNoProcess)
}
