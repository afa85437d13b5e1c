// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/internal/schematest"
	"github.com/pidgraft/pidgraft/restore/model"
	"github.com/pidgraft/pidgraft/restore/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

var options = plan.Options{PidMax: forest.MaxNumber + 1, OwnPidMax: true}

// sample is a container with one of most things that make a plan interesting,
// as a history on the model: the root, a daemon whose session leader is gone,
// a shell that bore a child before its setsid, a thread, and a zombie.
func sample(t *testing.T) (*plan.Plan, *forest.Forest) {
	t.Helper()
	k := model.New()
	fork := func(by model.TaskID, comm string, a model.CloneArgs) model.TaskID {
		t.Helper()
		if a.Flags&(model.Thread|model.Parent) == 0 {
			a.ExitSignal = forest.SIGCHLD
		}
		id, errno := k.Clone(by, a)
		if errno != 0 {
			t.Fatalf("%s: %v: %s", comm, errno, k.Why())
		}
		ok(t, k, k.SetComm(id, comm))
		return id
	}
	init := fork(model.Outsider, "init", model.CloneArgs{Flags: model.NewPID})
	shell := fork(init, "shell", model.CloneArgs{SetTID: []int32{7}})
	fork(shell, "early\x1b", model.CloneArgs{SetTID: []int32{8}})
	ok(t, k, k.Setsid(shell))
	fork(shell, "{worker}", model.CloneArgs{Flags: model.Thread, SetTID: []int32{9}})
	lead := fork(init, "lead", model.CloneArgs{SetTID: []int32{20}})
	ok(t, k, k.Setsid(lead))
	fork(lead, "daemon", model.CloneArgs{SetTID: []int32{21}})
	ok(t, k, k.ExitGroup(lead, 0))
	collect(t, k, init, lead)
	box := fork(shell, "box", model.CloneArgs{Flags: model.NewPID, SetTID: []int32{1, 30}})
	ended := fork(box, "ended", model.CloneArgs{SetTID: []int32{2, 31}})
	ok(t, k, k.ExitGroup(ended, 3))
	f, err := k.Forest(init, forest.Container)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(f, options)
	if err != nil {
		t.Fatal(err)
	}
	return p, f
}

func ok(t *testing.T, k *model.Kernel, errno model.Errno) {
	t.Helper()
	if errno != 0 {
		t.Fatalf("%v: %s", errno, k.Why())
	}
}

func collect(t *testing.T, k *model.Kernel, parent, child model.TaskID) {
	t.Helper()
	_, errno := k.Wait(parent, child)
	ok(t, k, errno)
}

func TestGolden(t *testing.T) {
	p, f := sample(t)
	explain := func(arg string) func(io.Writer) error {
		return func(w io.Writer) error {
			tag, err := Find(f, arg)
			if err != nil {
				return err
			}
			return Explain(w, p, f, tag)
		}
	}
	for name, show := range map[string]func(io.Writer) error{
		"plan.txt":   func(w io.Writer) error { return Text(w, p, f) },
		"early.txt":  explain("8"),
		"daemon.txt": explain("21"),
		"ghost.txt":  explain("20"),
		"box.txt":    explain("30/1"),
		"root.txt":   explain("1"),
	} {
		var b bytes.Buffer
		if err := show(&b); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(b.String(), '\x1b') {
			t.Errorf("%s: an escape gets through", name)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), b.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestFind(t *testing.T) {
	_, f := sample(t)
	for _, arg := range []string{"", "x", "7/", "0", "-7", "99", "30/2", "30/1/1", "99999999999"} {
		if tag, err := Find(f, arg); err == nil {
			t.Errorf("%q is %s", arg, f.TagName(tag))
		}
	}
}

// Every operation of every plan has its place: after its actor's birth, after
// the one before it, and after those that it waits for. All that can be shown
// of it is; the JSON form fits its schema.
func TestRandomPlans(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	plans := 0
	for range 300 {
		h, k := model.GenerateRand(r, model.Config{Kinds: model.All})
		f, err := k.Forest(h.Root, h.Mode)
		if err != nil {
			continue
		}
		p, err := plan.Make(f, options)
		if err != nil {
			continue
		}
		plans++
		checkOrder(t, p, f)
		var b bytes.Buffer
		if err := JSON(&b, p, f); err != nil {
			t.Fatal(err)
		}
		if errs, err := schematest.Check("../../../docs/schema/plan.v1.json", b.Bytes()); err != nil || len(errs) > 0 {
			t.Fatal(err, strings.Join(errs, "\n"))
		}
		for tag := range f.Pids {
			b.Reset()
			if err := Explain(&b, p, f, forest.Tag(tag+1)); err != nil || strings.Contains(b.String(), "?") {
				t.Fatalf("%v\n%s", err, b.String())
			}
		}
		b.Reset()
		if err := Text(&b, p, f); err != nil || strings.Contains(b.String(), "?") {
			t.Fatalf("%v\n%s", err, b.String())
		}
	}
	if plans < 30 {
		t.Errorf("only %d plans", plans)
	}
}

func checkOrder(t *testing.T, p *plan.Plan, f *forest.Forest) {
	t.Helper()
	s := newSteps(p, f)
	for a := range p.Actors {
		if a != plan.Restorer && s.births[a] == 0 {
			t.Fatalf("actor %d is never born", a)
		}
		last := s.births[a]
		for i := range p.Actors[a].Ops {
			at := s.number[a][i]
			if at <= last {
				t.Fatalf("operation %d.%d is step %d, after step %d", a, i, at, last)
			}
			last = at
			if slices.ContainsFunc(p.Actors[a].Ops[i].After, func(r plan.Ref) bool { return s.number[r.Actor][r.Op] >= at }) {
				t.Fatalf("operation %d.%d is step %d, before one that it waits for", a, i, at)
			}
		}
	}
}

// TestOtherIDs: all four uids and gids of a zombie are told, and fit the schema.
func TestOtherIDs(t *testing.T) {
	f := foresttest.Small()
	f.Tasks[1].State = forest.Zombie
	f.ExitIDs = []forest.ExitIDs{{Task: f.Tasks[1].Pid, OtherIDs: forest.OtherIDs{SUID: 11, FSUID: 12, SGID: 13, FSGID: 14}}}
	p, err := plan.Make(f, options)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := JSON(&b, p, f); err != nil {
		t.Fatal(err)
	}
	if errs, err := schematest.Check("../../../docs/schema/plan.v1.json", b.Bytes()); err != nil || len(errs) > 0 {
		t.Error(err, strings.Join(errs, "\n"))
	}
	for _, word := range []string{`"suid": 11`, `"fsuid": 12`, `"sgid": 13`, `"fsgid": 14`, "/11/12, gid ", "/13/14 (real/effective/saved/for files"} {
		if !strings.Contains(b.String(), word) {
			t.Errorf("%q is not in it:\n%s", word, b.String())
		}
	}
}
