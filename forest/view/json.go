// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bufio"
	"encoding/json"
	"io"
	"time"

	"github.com/pidgraft/pidgraft/forest"
)

// Schema names the form that JSON writes: docs/schema/forest.v1.json. Fields
// may be added under one name; a change of meaning takes another.
const Schema = "pidgraft.forest.v1"

type jsonForest struct {
	Schema         string              `json:"schema"`
	Mode           string              `json:"mode"`
	Cut            jsonCut             `json:"cut"`
	Producer       jsonProducer        `json:"producer"`
	Inexact        []string            `json:"inexact"`
	UserNamespaces []jsonUserNamespace `json:"user_namespaces"`
	Namespaces     []jsonNamespace     `json:"namespaces"`
	Pids           []jsonPid           `json:"pids"`
	Tasks          []jsonTask          `json:"tasks"`
	References     []jsonReference     `json:"references"`
	Origins        []jsonOrigin        `json:"origins,omitempty"`
	Departed       []jsonDeparted      `json:"departed,omitempty"`
}

type jsonCut struct {
	Method string `json:"method"`
	Walked bool   `json:"walked"`
}

type jsonProducer struct {
	Release string `json:"release"`
	Version string `json:"version"`
	Machine string `json:"machine"`
	Tool    string `json:"tool"`
	Time    string `json:"time"`
}

type jsonUserNamespace struct {
	Parent    int          `json:"parent"`
	OwnerUID  uint32       `json:"owner_uid"`
	OwnerGID  uint32       `json:"owner_gid"`
	UIDMap    []jsonExtent `json:"uid_map"`
	GIDMap    []jsonExtent `json:"gid_map"`
	Setgroups bool         `json:"setgroups"`
	Inode     uint32       `json:"inode"`
}

type jsonExtent struct {
	First  uint32 `json:"first"`
	Parent uint32 `json:"parent"`
	Count  uint32 `json:"count"`
}

type jsonNamespace struct {
	Parent int    `json:"parent"`
	Level  int    `json:"level"`
	Owner  int    `json:"owner"`
	State  string `json:"state"`
	Cursor uint32 `json:"cursor"`
	PidMax uint32 `json:"pid_max"`
	Inode  uint32 `json:"inode"`
}

type jsonPid struct {
	Tag       forest.Tag `json:"tag"`
	Namespace int        `json:"namespace"`
	Numbers   []int32    `json:"numbers"`
	Ghost     bool       `json:"ghost"`
}

type jsonTask struct {
	Pid          forest.Tag `json:"pid"`
	TGID         forest.Tag `json:"tgid"`
	PGID         forest.Tag `json:"pgid"`
	SID          forest.Tag `json:"sid"`
	Parent       forest.Tag `json:"parent"`
	ParentThread forest.Tag `json:"parent_thread"`

	NSpid  []int32 `json:"nspid"`
	NStgid []int32 `json:"nstgid"`
	NSpgid []int32 `json:"nspgid"`
	NSsid  []int32 `json:"nssid"`

	State         string `json:"state"`
	StopSignal    int32  `json:"stop_signal"`
	StopReported  bool   `json:"stop_reported"`
	ExitCode      int32  `json:"exit_code"`
	GroupExitCode int32  `json:"group_exit_code"`
	GroupExit     bool   `json:"group_exit"`
	WaitStatus    *int32 `json:"wait_status"`

	ExitSignal   int32 `json:"exit_signal"`
	PdeathSignal int32 `json:"pdeath_signal"`
	Subreaper    bool  `json:"subreaper"`

	UserNamespace  int  `json:"user_namespace"`
	ChildNamespace *int `json:"child_namespace"`

	UID  uint32 `json:"uid"`
	EUID uint32 `json:"euid"`
	GID  uint32 `json:"gid"`
	EGID uint32 `json:"egid"`
	// Of a task that has exited, if one of them is not the effective id.
	SUID  *uint32 `json:"suid,omitempty"`
	FSUID *uint32 `json:"fsuid,omitempty"`
	SGID  *uint32 `json:"sgid,omitempty"`
	FSGID *uint32 `json:"fsgid,omitempty"`

	Comm      string `json:"comm"`
	StartTime uint64 `json:"start_time_ns"`
}

// JSON writes f with all that it holds, and with what readers would otherwise
// work out: which objects are ghosts, what /proc would show of a task at each
// level, and what wait would report.
func JSON(w io.Writer, f *forest.Forest) error {
	x := forest.NewIndex(f)
	births, departed := jsonOrigins(f)
	out := jsonForest{
		Origins: births, Departed: departed,
		Schema: Schema, Mode: f.Mode.String(),
		Cut: jsonCut{f.Cut.Method.String(), f.Cut.Walked},
		Producer: jsonProducer{
			Release: f.Producer.Release, Version: f.Producer.Version, Machine: f.Producer.Machine,
			Tool: f.Producer.Tool, Time: time.Unix(0, f.Producer.Time).UTC().Format(time.RFC3339Nano),
		},
		Inexact:        f.Inexact,
		UserNamespaces: make([]jsonUserNamespace, len(f.UserNamespaces)),
		Namespaces:     make([]jsonNamespace, len(f.Namespaces)),
		Pids:           make([]jsonPid, len(f.Pids)),
		Tasks:          make([]jsonTask, len(f.Tasks)),
		References:     jsonReferences(f.References),
	}
	if out.Inexact == nil {
		out.Inexact = []string{}
	}
	for i := range f.UserNamespaces {
		u := &f.UserNamespaces[i]
		out.UserNamespaces[i] = jsonUserNamespace{u.Parent, u.OwnerUID, u.OwnerGID,
			jsonExtents(u.UIDMap), jsonExtents(u.GIDMap), u.Setgroups, u.Inode}
	}
	for i := range f.Namespaces {
		n := &f.Namespaces[i]
		out.Namespaces[i] = jsonNamespace{n.Parent, n.Level, n.Owner, n.State.String(), n.Cursor, n.PidMax, n.Inode}
	}
	for i := range f.Pids {
		tag := forest.Tag(i + 1)
		out.Pids[i] = jsonPid{tag, f.Pids[i].Namespace, f.Pids[i].Numbers, x.TaskOf(tag) == forest.None}
	}
	for i := range f.Tasks {
		out.Tasks[i] = jsonOf(f, &f.Tasks[i])
	}
	for i := range f.ExitIDs {
		ids := &f.ExitIDs[i]
		t := &out.Tasks[x.TaskOf(ids.Task)]
		t.SUID, t.FSUID, t.SGID, t.FSGID = &ids.SUID, &ids.FSUID, &ids.SGID, &ids.FSGID
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

func jsonExtents(m []forest.Extent) []jsonExtent {
	out := make([]jsonExtent, len(m))
	for i, e := range m {
		out[i] = jsonExtent(e)
	}
	return out
}

func jsonOf(f *forest.Forest, t *forest.Task) jsonTask {
	out := jsonTask{
		Pid: t.Pid, TGID: t.TGID, PGID: t.PGID, SID: t.SID, Parent: t.Parent, ParentThread: t.ParentThread,
		NSpid: levels(f, t, t.Pid), NStgid: levels(f, t, t.TGID), NSpgid: levels(f, t, t.PGID), NSsid: levels(f, t, t.SID),
		State: t.State.String(), StopSignal: t.StopSignal, StopReported: t.StopReported,
		ExitCode: t.ExitCode, GroupExitCode: t.GroupExitCode, GroupExit: t.GroupExit,
		ExitSignal: t.ExitSignal, PdeathSignal: t.PdeathSignal, Subreaper: t.Subreaper,
		UserNamespace: t.UserNamespace,
		UID:           t.UID, EUID: t.EUID, GID: t.GID, EGID: t.EGID,
		Comm: forest.Escape(t.Comm), StartTime: t.StartTime,
	}
	if t.State == forest.Zombie {
		status := t.WaitStatus()
		out.WaitStatus = &status
	}
	if t.ChildNamespace != forest.SameNamespace {
		out.ChildNamespace = &t.ChildNamespace
	}
	return out
}

// levels is what /proc/PID/status prints of an object for task t: its number
// in each namespace that t has one in, 0 where it is not visible
// (task_state, fs/proc/array.c).
func levels(f *forest.Forest, t *forest.Task, tag forest.Tag) []int32 {
	own := f.Pid(t.Pid)
	numbers := make([]int32, len(own.Numbers))
	for ns := own.Namespace; ns >= 0; ns = f.Namespaces[ns].Parent {
		numbers[f.Namespaces[ns].Level] = f.NumberIn(tag, ns)
	}
	return numbers
}
