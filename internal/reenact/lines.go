// SPDX-License-Identifier: Apache-2.0

package reenact

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// Name is what a task of the model is called on a Stage.
func Name(id model.TaskID) string {
	if id == model.Outsider {
		return "outside"
	}
	return fmt.Sprintf("t%d", id)
}

// Script is a history as lines for testforest; Parse reads it, too.
func Script(h *model.History) string {
	var b strings.Builder
	if h.Mode == forest.Subtree {
		fmt.Fprintf(&b, "# a subtree, root %s\n", Name(h.Root))
	}
	for i := range h.Steps {
		s := &h.Steps[i]
		for _, line := range Lines(s) {
			if s.Errno != 0 {
				line += " # " + s.Errno.String()
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Lines is a step in the words of testforest.
func Lines(s *model.Step) []string {
	line := words(s)
	if line == nil {
		panic("reenact: no words for " + s.String())
	}
	if s.Kind == model.MapUsers {
		return []string{
			Name(s.Actor) + " " + line[0] + " " + line[1] + " uid" + extents(s.Maps.UID),
			Name(s.Actor) + " " + line[0] + " " + line[1] + " gid" + extents(s.Maps.GID),
		}
	}
	return []string{Name(s.Actor) + " " + strings.Join(line, " ")}
}

// words is what the actor of a step does.
func words(s *model.Step) []string {
	target, number := Name(s.Target), strconv.Itoa(int(s.Number))
	switch s.Kind {
	case model.Fork, model.ForkSignal, model.ForkParent, model.ForkNamed, model.ForkPID, model.ForkUser,
		model.ForkFail, model.ForkThread, model.Enter:
		return forkWords(s)
	case model.ExitOne:
		return []string{"exit-thread", number}
	case model.ExitAll:
		return []string{"exit", number}
	case model.KillOne, model.Stop, model.Continue:
		return []string{"kill", target, number}
	case model.Reap:
		return []string{"reap", target}
	case model.NewSession:
		return []string{"setsid"}
	case model.JoinGroup, model.MoveChild:
		return []string{"setpgid", selfOr(s.Target), selfOr(s.Group)}
	case model.Reaper:
		return []string{"subreaper", number}
	case model.UnsharePID:
		return []string{"unshare", "pid"}
	case model.UnshareUser:
		return []string{"unshare", "user"}
	case model.JoinPID:
		return []string{"setns", target, "pid"}
	case model.JoinUser:
		return []string{"setns", target, "user"}
	case model.Execve:
		return []string{"exec"}
	case model.TellStop:
		return []string{"wait-stop", target}
	case model.ParentDeath:
		return []string{"pdeath", number}
	case model.IgnoreChildren:
		return []string{"ignore", "CHLD", [...]string{"dfl", "ign", "nocldwait"}[s.Number]}
	case model.MapUsers:
		return []string{"maps", target}
	case model.ChangeIDs:
		ids := fmt.Sprintf("%d %d %d %d", s.IDs.UID, s.IDs.EUID, s.IDs.GID, s.IDs.EGID)
		if o := s.IDs.Other; o != nil {
			ids += fmt.Sprintf(" %d %d %d %d", o.SUID, o.FSUID, o.SGID, o.FSGID)
		}
		return []string{"setids", ids}
	case model.WriteCursor:
		return []string{"last-pid", number}
	case model.WriteMax:
		return []string{"pid-max", number}
	case model.DieInit:
		if how, ok := map[int32]string{1: "hup", 2: "int"}[s.Number]; ok {
			return []string{"reboot", how}
		}
		return []string{"fault", number}
	}
	return nil
}

func selfOr(id model.TaskID) string {
	if id == 0 {
		return "self"
	}
	return Name(id)
}

func extents(m []forest.Extent) string {
	var b strings.Builder
	for _, e := range m {
		fmt.Fprintf(&b, " %d %d %d", e.First, e.Parent, e.Count)
	}
	return b.String()
}

func forkWords(s *model.Step) []string {
	line := []string{"fork", "failed"}
	if s.Errno == 0 {
		line[1] = Name(s.Child)
	}
	switch {
	case s.Flags&model.Thread != 0:
		line[0] = "thread"
	case s.Flags&model.Parent != 0:
		line = append(line, "parent")
	case s.Number != forest.SIGCHLD:
		line = append(line, fmt.Sprintf("sig=%d", s.Number))
	}
	if s.Flags&model.NewPID != 0 {
		line = append(line, "newpid")
	}
	if s.Flags&model.NewUser != 0 {
		line = append(line, "newuser")
	}
	if s.SetTID != nil {
		var numbers []string
		for _, n := range slices.Backward(s.SetTID) {
			numbers = append(numbers, strconv.Itoa(int(n)))
		}
		line = append(line, "num="+strings.Join(numbers, "/"))
	}
	if s.Kind == model.ForkFail {
		line = append(line, "fail")
	}
	return line
}
