// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/audit/container"
	"github.com/pidgraft/pidgraft/loader"
)

// ofContainer is the pid namespace of a container other than this process's own.
func ofContainer(id string, own uint64) (uint64, error) {
	const shortest = 4
	if len(id) < shortest || strings.ContainsRune(id, '/') {
		return 0, usageError{fmt.Errorf("container %q: at least %d characters of an id are wanted", id, shortest)}
	}
	found := candidates{}
	var hidden unseen
	err := eachProcess(func(pid int) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			return false
		}
		name, how := match(string(b), id)
		if how == 0 {
			return false
		}
		is, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if errors.Is(err, fs.ErrPermission) {
			hidden++
		}
		if err != nil || is == own {
			return false
		}
		found.add(name, how, is, len(nspid(pid)))
		return false
	})
	if err != nil {
		return 0, err
	}
	inode, err := found.choose(id)
	if len(found) == 0 {
		err = hidden.or(err)
	}
	return inode, err
}

// How well a container fits an argument.
const (
	inPath   = 1 + iota // a cgroup is called so; whatever made it
	isPrefix            // its id begins so
	isWhole             // it is its id, or its unit
)

// match is the container that the text of /proc/PID/cgroup puts a process in, and
// how well it fits; 0: not at all.
func match(cgroups, id string) (name string, how int) {
	n := container.Parse(cgroups)
	switch {
	case n.Container() == id:
		return id, isWhole
	case strings.HasPrefix(n.ID, id):
		return n.ID, isPrefix
	}
	for line := range strings.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[2], "/"), id) {
			return id, inPath
		}
	}
	return "", 0
}

// candidates are the containers that fit, by name: the outermost pid namespace of
// each.
type candidates map[string]candidate

type candidate struct {
	inode uint64
	depth int
	how   int
}

func (c candidates) add(name string, how int, inode uint64, depth int) {
	was, ok := c[name]
	if !ok || how > was.how || how == was.how && depth < was.depth {
		c[name] = candidate{inode, depth, how}
	}
}

// choose is the one that fits best. Two that fit as well are one too many.
func (c candidates) choose(id string) (uint64, error) {
	names := slices.SortedFunc(maps.Keys(c), func(a, b string) int {
		return cmp.Or(cmp.Compare(c[b].how, c[a].how), cmp.Compare(a, b))
	})
	if len(names) == 0 {
		return 0, fmt.Errorf("container %s: %w: no process is in a container of that id, or in a cgroup of that name, and in a pid namespace other than this one", id, loader.ErrNoProcess)
	}
	best := c[names[0]]
	names = slices.DeleteFunc(names, func(n string) bool { return c[n].how < best.how })
	if len(names) > 1 {
		const most = 10
		rest := ""
		if len(names) > most {
			names, rest = names[:most], fmt.Sprintf("\nand %d more", len(names)-most)
		}
		return 0, usageError{fmt.Errorf("container %s: more than one container has an id that begins so:\n%s%s", id, strings.Join(names, "\n"), rest)}
	}
	return best.inode, nil
}
