// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/image/criu/packing"
)

var update = flag.Bool("update", false, "write the golden directories and the seeds of the fuzzers anew")

// Sample is a container with one of nearly everything that CRIU has words for:
// sessions and groups whose leaders are gone, threads, a zombie, a stopped
// process, a subreaper, a user namespace.
func sample() *forest.Forest {
	f := &forest.Forest{
		UserNamespaces: []forest.UserNamespace{{Parent: -1, Setgroups: true}, {
			Setgroups: true,
			UIDMap:    []forest.Extent{{First: 0, Parent: 100000, Count: 65536}},
			GIDMap:    []forest.Extent{{First: 0, Parent: 200000, Count: 65536}},
		}},
		Namespaces: []forest.Namespace{{Parent: -1, Owner: 1, Cursor: 41}},
		Producer:   forest.Producer{Machine: "x86_64"},
	}
	tags := map[int32]forest.Tag{}
	tag := func(n int32) forest.Tag {
		if tags[n] == 0 {
			f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{n}})
			tags[n] = forest.Tag(len(f.Pids))
		}
		return tags[n]
	}
	add := func(pid, tgid, pgid, sid, parent int32, comm string) *forest.Task {
		t := forest.Task{
			Pid: tag(pid), TGID: tag(tgid), PGID: tag(pgid), SID: tag(sid), ExitSignal: forest.SIGCHLD,
			ChildNamespace: forest.SameNamespace, UserNamespace: 1, Comm: comm,
			UID: 100000, EUID: 100000, GID: 200000, EGID: 200000,
		}
		if parent != 0 {
			t.Parent = tag(parent)
			t.ParentThread = t.Parent
		}
		if pid != tgid {
			t.ExitSignal = forest.ExitSignalThread
		}
		f.Tasks = append(f.Tasks, t)
		return &f.Tasks[len(f.Tasks)-1]
	}
	add(1, 1, 1, 1, 0, "init").Subreaper = true
	add(7, 7, 7, 7, 1, "sh").PdeathSignal = 15
	stopped := add(9, 9, 6, 7, 7, "vi \xff\"\n")
	stopped.State, stopped.StopSignal = forest.Stopped, 20
	add(8, 7, 7, 7, 1, "worker").UID = 100005
	zombie := add(10, 10, 5, 5, 1, "dead")
	zombie.State, zombie.ExitCode, zombie.GroupExitCode, zombie.GroupExit = forest.Zombie, 0x8b, 0x8b, true
	zombie.EUID, zombie.EGID = 100000, 200000
	add(40, 40, 1, 1, 1, "tail")
	return f
}

func goldens() map[string]*forest.Forest {
	return map[string]*forest.Forest{"sample": sample(), "small": foresttest.Small(), "job": job()}
}

// job is a shell's: a subtree that has its session and group from outside.
func job() *forest.Forest {
	f := foresttest.BelowRoot()
	f.Namespaces = f.Namespaces[:1]
	f.Tasks = slices.DeleteFunc(f.Tasks, func(t forest.Task) bool { return f.Pid(t.Pid).Namespace != 0 })
	f.Pids = slices.DeleteFunc(f.Pids, func(p forest.Pid) bool { return p.Namespace != 0 })
	return f
}

// TestGolden: the directories under testdata/golden were written once. Every
// later version must read them and write the same.
func TestGolden(t *testing.T) {
	for name, f := range goldens() {
		dir := filepath.Join("testdata", "golden", name)
		files, lost, err := Write(f)
		if err != nil || len(lost) > 0 {
			t.Fatalf("%s: %q, %v", name, lost, err)
		}
		if *update {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if err := os.WriteFile(filepath.Join(dir, file.Name), file.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		there, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(there) != len(files) {
			t.Errorf("%s: there are %d files, and %d are written", name, len(there), len(files))
		}
		for _, file := range files {
			if b, err := os.ReadFile(filepath.Join(dir, file.Name)); err != nil || !bytes.Equal(b, file.Data) {
				t.Errorf("%s: %s is written otherwise now (%v)", name, file.Name, err)
			}
		}
		g, err := Read(os.DirFS(dir))
		if err != nil {
			t.Errorf("%s is refused now: %v", name, err)
			continue
		}
		if d := forest.Diff(f, g, forest.DiffOptions{LiveIDs: true}); len(d) > 0 {
			t.Errorf("%s is read otherwise now: %v", name, d)
		}
	}
}

// seeds are what the fuzzers start from.
func seeds(t testing.TB) (archives map[string][]byte) {
	s := map[string][]byte{}
	for name, f := range goldens() {
		s[name] = archive(t, under("checkpoint/", written(t, f))...)
	}
	s["gzip"] = gzipped(t, s["small"])
	s["zstd"] = zstandard(t, s["small"])
	s["cut"] = s["sample"][:len(s["sample"])*2/3]
	d := small()
	d.process(1).Threads = []uint32{2, 3}
	var ms []member
	for name, file := range d.fs(t) {
		ms = append(ms, member{"./" + name, file.Data})
	}
	slices.SortFunc(ms, func(a, b member) int { return strings.Compare(a.name, b.name) })
	s["missing"] = archive(t, ms...)
	return s
}

// TestSeeds keeps the fuzzer's seeds those of this version.
func TestSeeds(t *testing.T) {
	for name, b := range seeds(t) {
		path := filepath.Join("testdata", "fuzz", "FuzzReadArchive", name)
		want := fmt.Appendf(nil, "go test fuzz v1\n[]byte(%q)\n", b)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is out of date (error: %v): go test ./image/criu -update", path, err)
		}
	}
}

// FuzzReadArchive: whatever the bytes, there is a forest or an error, and a
// forest that was read is written without loss.
func FuzzReadArchive(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		p, r := packing.Sniff(bytes.NewReader(b))
		g, err := ReadArchive(r, p)
		roundIfRead(t, g, err)
	})
}

// FuzzRead is about what is in the files, which the archive's checksums would
// hide from the fuzzer.
func FuzzRead(f *testing.F) {
	for _, g := range goldens() {
		m := map[string][]byte{}
		for _, file := range written(f, g) {
			m[file.Name] = file.Data
		}
		pid := g.Pid(g.Root().Pid).Number()
		last := g.Pid(g.Tasks[len(g.Tasks)-1].Pid).Number()
		f.Add(m["inventory.img"], m["pstree.img"], pid, m[coreKind.file(uint32(pid))], m[idsKind.file(uint32(pid))],
			last, m[coreKind.file(uint32(last))], m[usernsKind.file(ownUserNS)])
	}
	f.Fuzz(func(t *testing.T, inventory, pstree []byte, first int32, core, ids []byte, second int32, other, userns []byte) {
		m := fstest.MapFS{}
		for name, b := range map[string][]byte{
			"inventory.img": inventory, "pstree.img": pstree, "userns-4.img": userns,
			coreKind.file(uint32(first)): core, idsKind.file(uint32(first)): ids, coreKind.file(uint32(second)): other,
		} {
			m[name] = &fstest.MapFile{Data: b}
		}
		g, err := Read(m)
		roundIfRead(t, g, err)
	})
}

// roundIfRead: what was read and is exact is written without loss.
func roundIfRead(t *testing.T, g *forest.Forest, err error) {
	if err != nil {
		_ = err.Error()
		return
	}
	_, lost, err := Write(g)
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if len(lost) != len(g.Inexact) {
		t.Fatalf("lost: %q, inexact: %q", lost, g.Inexact)
	}
}
