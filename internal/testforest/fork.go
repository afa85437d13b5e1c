// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func (f *Forest) fork(a *actor, args []string) error {
	flags, sig := int64(0), int64(unix.SIGCHLD)
	var numbers []int64
	late := false
	for _, word := range args[1:] {
		var err error
		switch key, value, _ := strings.Cut(word, "="); key {
		case "vm":
			flags |= unix.CLONE_VM
		case "parent":
			flags |= unix.CLONE_PARENT
			sig = 0
		case "fail":
			late = true
		case "newpid":
			flags |= unix.CLONE_NEWPID
		case "newuser":
			flags |= unix.CLONE_NEWUSER
		case "sig":
			sig, err = signal(value)
		case "num":
			numbers, err = parseNumbers(value)
		default:
			err = fmt.Errorf("%q: %w", word, errUsage)
		}
		if err != nil {
			return err
		}
	}
	if late {
		return f.failLate(a, flags, sig, numbers)
	}
	return f.spawn(a, args[0], flags, sig, numbers)
}

// failLate has clone3 fail after numbers were given out, as a cgroup's limit
// does: the pidfd cannot be stored.
func (f *Forest) failLate(a *actor, flags, sig int64, numbers []int64) error {
	const nowhere = slotsAddr / 2
	a.setNumbers(numbers)
	return a.run(spawnCall, flags|unix.CLONE_PIDFD, sig, sleeper, int64(len(numbers)), nowhere)
}

func (f *Forest) thread(a *actor, args []string) error {
	var numbers []int64
	for _, word := range args[1:] {
		value, ok := strings.CutPrefix(word, "num=")
		if !ok {
			return errUsage
		}
		var err error
		if numbers, err = parseNumbers(value); err != nil {
			return err
		}
	}
	const flags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES |
		unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	return f.spawn(a, args[0], flags, 0, numbers)
}

// parseNumbers reads N/N/…, outermost first, into the order of set_tid.
func parseNumbers(s string) ([]int64, error) {
	var numbers []int64
	for part := range strings.SplitSeq(s, "/") {
		n, err := integer(part)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	slices.Reverse(numbers)
	return numbers, nil
}

func (f *Forest) spawn(a *actor, name string, flags, sig int64, numbers []int64) error {
	if _, taken := f.actors[name]; taken || name == hostName {
		return fmt.Errorf("the name %q is taken", name)
	}
	if f.used == nrSlots {
		return fmt.Errorf("more than %d tasks", nrSlots)
	}
	a.setNumbers(numbers)
	child := f.addSlot(name)
	if err := a.run(spawnCall, flags, sig, int64(child.number), int64(len(numbers))); err != nil {
		f.used--
		return err
	}
	child.tid, child.tgid = a.tid, a.tgid // until it is enlisted, its maker vouches for it
	return f.enlist(child, flags&unix.CLONE_THREAD != 0)
}

// setNumbers lays out set_tid in the slot's data.
func (a *actor) setNumbers(numbers []int64) {
	for i, n := range numbers {
		for b := range 4 {
			a.slot.data[4*i+b] = byte(n >> (8 * b)) // little-endian pid_t
		}
	}
}

func (f *Forest) sleepers(a *actor, args []string) error {
	n, err := integer(args[0])
	if err != nil {
		return err
	}
	for range n {
		if err := a.run(spawnCall, unix.CLONE_VM, int64(unix.SIGCHLD), sleeper, 0); err != nil {
			return err
		}
		f.crowd++
	}
	return nil
}
