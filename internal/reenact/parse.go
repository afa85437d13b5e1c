// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// Parse reads a script in the form of Script, of a container. Tasks may have
// any names; the first that is made is the root. The model makes the steps as
// they are read, and their errnos are the model's.
func Parse(script string, version model.Version) (*model.History, error) {
	p := &parser{
		k:     model.NewVersion(version),
		h:     &model.History{Version: version},
		names: map[string]model.TaskID{"outside": model.Outsider, "self": 0},
	}
	for i, line := range strings.Split(script, "\n") {
		text, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if err := p.line(fields); err != nil {
			return nil, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
	}
	if p.h.Root == 0 {
		return nil, errors.New("the script makes no task")
	}
	p.h.Root = p.k.Leader(p.h.Root)
	return p.h, nil
}

type parser struct {
	k     *model.Kernel
	h     *model.History
	names map[string]model.TaskID
}

// operation is how a line becomes a step: how many arguments it has at least,
// which of them name tasks, which is a number.
type operation struct {
	kind          model.Kind
	args          int
	target, group int // argument, from 1
	number        int
}

var operations = map[string]operation{
	"fork":        {kind: model.Fork, args: 1},
	"thread":      {kind: model.ForkThread, args: 1},
	"exit-thread": {kind: model.ExitOne, args: 1, number: 1},
	"exit":        {kind: model.ExitAll, args: 1, number: 1},
	"kill":        {kind: model.KillOne, args: 2, target: 1, number: 2},
	"reap":        {kind: model.Reap, args: 1, target: 1},
	"setsid":      {kind: model.NewSession},
	"setpgid":     {kind: model.JoinGroup, args: 2, target: 1, group: 2},
	"subreaper":   {kind: model.Reaper, args: 1, number: 1},
	"unshare":     {kind: model.UnsharePID, args: 1},
	"setns":       {kind: model.JoinPID, args: 2, target: 1},
	"exec":        {kind: model.Execve},
	"wait-stop":   {kind: model.TellStop, args: 1, target: 1},
	"pdeath":      {kind: model.ParentDeath, args: 1, number: 1},
	"ignore":      {kind: model.IgnoreChildren, args: 2},
	"maps":        {kind: model.MapUsers, args: 5, target: 1},
	"setids":      {kind: model.ChangeIDs, args: 4},
	"last-pid":    {kind: model.WriteCursor, args: 1, number: 1},
	"pid-max":     {kind: model.WriteMax, args: 1, number: 1},
	"fault":       {kind: model.DieInit, args: 1, number: 1},
	"reboot":      {kind: model.DieInit, args: 1},
}

func (p *parser) line(fields []string) error {
	if len(fields) < 2 {
		return errors.New("no operation")
	}
	o, ok := operations[fields[1]]
	args := fields[2:]
	if !ok || len(args) < o.args {
		return errors.New("no such operation, or too few arguments")
	}
	s := &model.Step{Kind: o.kind}
	var err error
	task := func(name string) (id model.TaskID) {
		id, ok := p.names[name]
		if !ok && err == nil {
			err = fmt.Errorf("no task is called %q", name)
		}
		return id
	}
	s.Actor = task(fields[0])
	if o.target > 0 {
		s.Target = task(args[o.target-1])
	}
	if o.group > 0 {
		s.Group = task(args[o.group-1])
	}
	if o.number > 0 && err == nil {
		s.Number, err = number(args[o.number-1])
	}
	if err == nil {
		err = special(s, fields[1], args)
	}
	if err != nil {
		return err
	}
	return p.do(s, args)
}

// do has the model make a step. The second line of maps belongs to the first.
func (p *parser) do(s *model.Step, args []string) error {
	if s.Kind == model.MapUsers && args[1] == "gid" {
		return nil // as for uids
	}
	errno := p.k.Apply(s)
	p.h.Steps = append(p.h.Steps, *s)
	if errno != 0 || s.Child == 0 {
		return nil
	}
	if _, taken := p.names[args[0]]; taken {
		return fmt.Errorf("the name %q is taken", args[0])
	}
	p.names[args[0]] = s.Child
	if p.h.Root == 0 {
		p.h.Root = s.Child
	}
	return nil
}

func number(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int32(n), err
}

// special adds what only one kind of step has.
func special(s *model.Step, op string, args []string) (err error) {
	switch op {
	case "fork", "thread":
		return fork(s, args[1:])
	case "setpgid":
		if s.Target != 0 {
			s.Kind = model.MoveChild
		}
	case "unshare", "setns":
		switch which := args[len(args)-1]; {
		case which == "user" && op == "setns":
			s.Kind = model.JoinUser
		case which == "user":
			s.Kind = model.UnshareUser
		case which != "pid":
			return fmt.Errorf("no namespace %q", which)
		}
	case "ignore":
		s.Number = int32(slices.Index([]string{"dfl", "ign", "nocldwait"}, args[1]))
		if s.Number < 0 || args[0] != "CHLD" {
			return errors.New("not a way to treat SIGCHLD")
		}
	case "maps":
		var e [3]int32
		for i := range e {
			if e[i], err = number(args[2+i]); err != nil {
				return err
			}
		}
		m := []forest.Extent{{First: uint32(e[0]), Parent: uint32(e[1]), Count: uint32(e[2])}}
		s.Maps = model.UserMaps{UID: m, GID: m, Setgroups: true}
	case "setids":
		var ids [8]uint32
		for i := range min(len(args), len(ids)) {
			n, err := number(args[i])
			if err != nil {
				return err
			}
			ids[i] = uint32(n)
		}
		s.IDs = model.IDs{UID: ids[0], EUID: ids[1], GID: ids[2], EGID: ids[3]}
		if len(args) == len(ids) {
			s.IDs.Other = &forest.OtherIDs{SUID: ids[4], FSUID: ids[5], SGID: ids[6], FSGID: ids[7]}
		}
	case "reboot":
		s.Number = 1 + int32(slices.Index([]string{"hup", "int"}, args[0]))
		if s.Number == 0 {
			return errors.New("reboot hup or int")
		}
	}
	return nil
}

func fork(s *model.Step, flags []string) (err error) {
	if s.Kind == model.ForkThread {
		s.Flags = model.Thread
	} else {
		s.Number = forest.SIGCHLD
	}
	for _, word := range flags {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "parent":
			s.Kind, s.Flags, s.Number = model.ForkParent, s.Flags|model.Parent, 0
		case "newpid":
			s.Kind, s.Flags = model.ForkPID, s.Flags|model.NewPID
		case "newuser":
			s.Kind, s.Flags = model.ForkUser, s.Flags|model.NewUser
		case "sig":
			s.Kind = model.ForkSignal
			if s.Number, err = number(value); err != nil {
				return err
			}
		case "num":
			for _, part := range slices.Backward(strings.Split(value, "/")) {
				n, err := number(part)
				if err != nil {
					return err
				}
				s.SetTID = append(s.SetTID, n)
			}
		case "fail":
			s.Kind = model.ForkFail
		default:
			return fmt.Errorf("no flag %q", word)
		}
	}
	return nil
}
