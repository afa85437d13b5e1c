// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// restoreSchema names the form in which a restore reports as JSON:
// docs/schema/restore.v1.json.
const restoreSchema = "pidgraft.restore.v1"

// renumbered is a pid object with its old and new numbers, the root namespace's
// first.
type renumbered struct {
	Tag   forest.Tag `json:"tag"`
	Old   []int32    `json:"old"`
	New   []int32    `json:"new"`
	Ghost bool       `json:"ghost"`
}

// place decides where the forest of an image comes back and with which numbers:
// it returns the forest that is wanted, and how to plan for it.
func (r *restoring) place(f *forest.Forest) (*forest.Forest, plan.Options, error) {
	opts := planOptions()
	if r.pidns.value == "current" {
		if f.Pid(f.Root().Pid).Numbers[0] == 1 {
			return nil, opts, usageError{errors.New("the image begins with number 1 of a pid namespace, which only a new one can have: " +
				"restore it without --pidns=current; its root is then a process of this namespace as well")}
		}
		here, err := restore.Here()
		if err != nil {
			return nil, opts, err
		}
		opts.Place = here
	}
	if r.pids.value == "exact" {
		return f, opts, nil
	}
	g, err := r.renumber(f, opts.Place)
	return g, opts, err
}

// renumber gives f new numbers, all below this namespace's pid_max, since on
// some kernels that is everybody's.
func (r *restoring) renumber(f *forest.Forest, here *plan.Place) (*forest.Forest, error) {
	limit, err := pidMax()
	if err != nil {
		return nil, err
	}
	g, err := forest.Renumber(f, limit, func(ns int, number int32) bool {
		return ns == 0 && here != nil && here.Taken(number)
	})
	if err != nil {
		return nil, refusedError{"it cannot be renumbered:", []string{err.Error()}}
	}
	x := forest.NewIndex(f)
	for i := range f.Pids {
		tag := forest.Tag(i + 1)
		r.numbers = append(r.numbers, renumbered{tag, f.Pids[i].Numbers, g.Pids[i].Numbers, x.TaskOf(tag) == forest.None})
	}
	return g, nil
}

func pidMax() (int32, error) {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("pid_max: %w", err)
	}
	return int32(n), nil
}

// report is what is printed when the forest with root pid lives.
func (r *restoring) report(pid int) ([]byte, error) {
	var b bytes.Buffer
	if r.format.value == "json" {
		out := struct {
			Schema string       `json:"schema"`
			Pid    int          `json:"pid"`
			Pids   []renumbered `json:"pids"`
		}{restoreSchema, pid, r.numbers}
		if out.Pids == nil {
			out.Pids = []renumbered{}
		}
		err := json.NewEncoder(&b).Encode(out)
		return b.Bytes(), err
	}
	if r.detach {
		fmt.Fprintln(&b, pid)
	}
	if len(r.numbers) == 0 {
		return b.Bytes(), nil
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "OLD\tNEW")
	for _, n := range r.numbers {
		ghost := ""
		if n.Ghost {
			ghost = "  (no task carries it)"
		}
		fmt.Fprintf(t, "%s\t%s%s\n", &forest.Pid{Numbers: n.Old}, &forest.Pid{Numbers: n.New}, ghost)
	}
	err := t.Flush()
	return b.Bytes(), err
}

// reportMax bounds the length of the report: its root's number aside, all of
// it is known before.
func (r *restoring) reportMax() int {
	b, _ := r.report(forest.MaxNumber)
	return max(len(b)+64, restore.SuccessMax)
}
