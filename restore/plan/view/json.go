// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"encoding/json"
	"io"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// Schema names the form that JSON writes: docs/schema/plan.v1.json. Fields may
// be added under one name; a change of meaning takes another.
const Schema = "pidgraft.plan.v1"

type jsonPlan struct {
	Schema string      `json:"schema"`
	Mode   string      `json:"mode"`
	Root   int         `json:"root"`
	Births []jsonOp    `json:"births"`
	Actors []jsonActor `json:"actors"`
}

type jsonActor struct {
	Actor   int         `json:"actor"`
	Role    string      `json:"role"`
	Name    string      `json:"name"`
	Task    *forest.Tag `json:"task"`
	Numbers []int32     `json:"numbers"`
	Why     string      `json:"why"`
	Maker   *int32      `json:"maker"`
	Program []jsonOp    `json:"program"`
}

type jsonOp struct {
	Step    *int32    `json:"step"`
	Op      string    `json:"op"`
	Text    string    `json:"text"`
	Child   *int32    `json:"child,omitempty"`
	Via     *int32    `json:"via,omitempty"`
	Pid     int32     `json:"pid,omitempty"`
	Number  *int32    `json:"number,omitempty"`
	Signal  int32     `json:"signal,omitempty"`
	Numbers []int32   `json:"numbers,omitempty"`
	Flags   []string  `json:"flags,omitempty"`
	IDs     *jsonIDs  `json:"ids,omitempty"`
	After   []jsonRef `json:"after"`
}

type jsonIDs struct {
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	EUID uint32 `json:"euid"`
	EGID uint32 `json:"egid"`
	*jsonOtherIDs
}

// jsonOtherIDs are there if one of them is not the effective id.
type jsonOtherIDs struct {
	SUID  uint32 `json:"suid"`
	FSUID uint32 `json:"fsuid"`
	SGID  uint32 `json:"sgid"`
	FSGID uint32 `json:"fsgid"`
}

type jsonRef struct {
	Actor int32 `json:"actor"`
	Op    int32 `json:"op"`
}

// JSON writes p, the plan for f, with all that it holds.
func JSON(w io.Writer, p *plan.Plan, f *forest.Forest) error {
	s := newSteps(p, f)
	out := jsonPlan{Schema: Schema, Mode: f.Mode.String(), Root: p.Root,
		Births: make([]jsonOp, len(p.Births)), Actors: make([]jsonActor, len(p.Actors))}
	for i := range p.Births {
		place := s.births[p.Births[i].Child]
		out.Births[i] = s.json(&p.Births[i], place)
	}
	for a := range p.Actors {
		out.Actors[a] = s.jsonActor(int32(a))
	}
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(out); err != nil {
		return err
	}
	return b.Flush()
}

func (s *steps) jsonActor(a int32) jsonActor {
	actor := &s.p.Actors[a]
	out := jsonActor{Actor: int(a), Role: actor.Role.String(), Name: s.name(a), Why: actor.Why,
		Numbers: s.numbers(a), Program: make([]jsonOp, len(actor.Ops))}
	if full := s.chainOf(a); full != nil {
		out.Numbers = full
		out.Task = &s.f.Tasks[actor.Task].Pid
	}
	if out.Numbers == nil {
		out.Numbers = []int32{}
	}
	if s.births[a] > 0 {
		out.Maker = &s.maker[a].Actor
	}
	for i := range actor.Ops {
		out.Program[i] = s.json(&actor.Ops[i], s.number[a][i])
	}
	return out
}

// json is an operation with the fields that mean something for its code.
func (s *steps) json(op *plan.Op, place int32) jsonOp {
	out := jsonOp{Op: op.Code.String(), Text: s.does(op), After: make([]jsonRef, len(op.After))}
	if place > 0 {
		out.Step = &place
	}
	for i, r := range op.After {
		out.After[i] = jsonRef(r)
	}
	switch op.Code {
	case plan.Clone:
		out.Numbers, out.Signal = outermostFirst(op.Numbers), op.Signal
		out.Flags = flagNames(op.Flags)
	case plan.Setpgid, plan.Subreaper, plan.WriteMaps, plan.Ignore, plan.Stop,
		plan.Cursor, plan.PidMax, plan.ExitThread, plan.ExitGroup:
		out.Number = &op.Number
	}
	switch op.Code {
	case plan.Clone, plan.Reap, plan.Await, plan.Kill, plan.Stop, plan.WriteMaps:
		out.Child, out.Pid = &op.Child, op.Pid
	case plan.Setpgid:
		if out.Pid = op.Pid; op.Child >= 0 {
			out.Child = &op.Child
		}
	case plan.JoinPID, plan.JoinUser:
		out.Via = &op.Via
	}
	switch op.Code {
	case plan.Kill, plan.Stop, plan.Ignore, plan.Pdeath, plan.Die:
		out.Signal = op.Signal
	}
	if op.Code == plan.SetIDs || op.Code == plan.UnshareUser || op.Flags&plan.NewUser != 0 {
		out.IDs = &jsonIDs{op.UID, op.GID, op.EUID, op.EGID, (*jsonOtherIDs)(op.Other)}
	}
	return out
}

func flagNames(c plan.CloneFlags) []string {
	var names []string
	for _, f := range []struct {
		flag plan.CloneFlags
		name string
	}{
		{plan.NewPID, "newpid"}, {plan.NewUser, "newuser"}, {plan.Parent, "parent"},
		{plan.Thread, "thread"}, {plan.Pidfd, "pidfd"},
	} {
		if c&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}
