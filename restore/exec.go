// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/stub"
)

// shell runs the command line of Options.Exec.
const shell = "/bin/sh"

// environment is what the programs of Options.Exec have in common.
type environment struct {
	forest *forest.Forest
	common []uint64 // addresses of this process's own variables
}

func newEnvironment(f *forest.Forest, hdr *stub.Plan, d *data, command string) *environment {
	hdr.ExecPath = d.text(shell)
	argv := []uint64{hdr.ExecPath, d.text("-c"), d.text(command)}
	env := &environment{forest: f}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PIDGRAFT_") {
			env.common = append(env.common, d.text(v))
		}
	}
	hdr.ExecArgv = d.addresses(argv)
	return env
}

// addresses appends a C vector of pointers and says where it is.
func (d *data) addresses(list []uint64) uint64 {
	d.align(8)
	at := stub.PlanAddr + d.at()
	for _, a := range list {
		d.long(a)
	}
	d.long(0)
	return at
}

// encodeProgram encodes a hold that ends in a program.
func (g *program) encodeProgram(out *stub.Op, op *plan.Op, a int, env *environment, d *data) {
	task := &g.forest.Tasks[g.plan.Actors[a].Task]
	var own []uint64
	for _, v := range identity(env.forest, task) {
		own = append(own, d.text(v))
	}
	envp := d.addresses(append(own, env.common...))

	*out = stub.Op{Code: uint8(op.Code), Mark: stub.MarkExec, Child: -1}
	d.align(8)
	if len(op.After)%2 != 0 {
		d.zeros(4) // the program's 64-bit field follows aligned
	}
	g.encodeAfter(out, op, d)
	ids, _ := innerIDs(g.forest, task)
	uid, gid, euid, egid := ids[0], ids[1], ids[2], ids[3]
	for _, id := range [8]uint32{uid, euid, euid, euid, gid, egid, egid, egid} {
		d.word(id)
	}
	d.word(boolWord(ids != [4]uint32{}))
	d.word(0)
	d.long(envp)
}

func boolWord(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// identity is what a program learns about the task that it stands for.
func identity(f *forest.Forest, t *forest.Task) []string {
	own := f.Pid(t.Pid)
	seen := func(tag forest.Tag) string {
		return strconv.Itoa(int(f.NumberIn(tag, own.Namespace)))
	}
	return []string{
		"PIDGRAFT_TASK=" + strconv.Itoa(int(t.Pid)),
		"PIDGRAFT_PID=" + seen(t.Pid),
		"PIDGRAFT_NUMBERS=" + chain(own.Numbers),
		"PIDGRAFT_TGID=" + seen(t.TGID),
		"PIDGRAFT_PGID=" + seen(t.PGID),
		"PIDGRAFT_SID=" + seen(t.SID),
		"PIDGRAFT_PPID=" + seen(t.Parent),
		"PIDGRAFT_COMM=" + t.Comm,
	}
}

// chain writes the numbers of a pid object from the root namespace inwards.
func chain(numbers []int32) string {
	parts := make([]string, len(numbers))
	for i, n := range numbers {
		parts[i] = strconv.Itoa(int(n))
	}
	return strings.Join(parts, "/")
}

// innerIDs are a task's uid, gid, euid and egid as its own user namespace
// calls them. A task that has ids of nobody there keeps those of the stub,
// which is right if they are its own (0), and else an error.
func innerIDs(f *forest.Forest, t *forest.Task) ([4]uint32, error) {
	var path []*forest.UserNamespace
	for u := t.UserNamespace; u > 0; u = f.UserNamespaces[u].Parent {
		path = append(path, &f.UserNamespaces[u])
	}
	ids := [4]uint32{t.UID, t.GID, t.EUID, t.EGID}
	kernel := ids
	for k := range ids {
		for i := len(path) - 1; i >= 0; i-- {
			extents := path[i].UIDMap
			if k%2 == 1 {
				extents = path[i].GIDMap
			}
			id, ok := inside(extents, ids[k])
			if !ok && kernel == [4]uint32{} {
				return [4]uint32{}, nil
			}
			if !ok {
				return [4]uint32{}, fmt.Errorf("a program cannot run as %s: id %d of the machine has no name in its user namespace; restore without a command",
					describeTask(f, t), kernel[k])
			}
			ids[k] = id
		}
	}
	return ids, nil
}

func inside(extents []forest.Extent, id uint32) (uint32, bool) {
	for _, e := range extents {
		if id >= e.Parent && id-e.Parent < e.Count {
			return e.First + (id - e.Parent), true
		}
	}
	return 0, false
}
