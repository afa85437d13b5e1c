// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
	"github.com/pidgraft/pidgraft/restore/stub"
)

// program is a plan on its way into the stub's memory.
type program struct {
	forest *forest.Forest
	plan   *plan.Plan
	opts   *Options

	first     []uint32 // of each actor, the index of its first operation
	nops      int      // with the births, which are the first
	maker     []plan.Ref
	thread    []bool  // the actor is a thread of its maker's process
	process   []int32 // the actor that leads its process
	outsider  []int32 // born beside the new namespaces
	committer int32
	cgroup    string // in place: where the forest grows up
	collected []bool // some actor sees the process end by wait
	holds     int
	stays     int32    // the outsider that stays, or 0
	lingering []int32  // inits that are killed and then wait for their namespace
	rootStop  *plan.Op // the stop of a root that is Init, or nil
}

const birthIndex = 0 // index of the operation that makes Init, the first birth

// analyse checks what the stub relies on and gathers what it must be told.
// The plan is the planner's, so a fault here is a bug, not a bad image.
func analyse(f *forest.Forest, p *plan.Plan, opts *Options) (*program, error) {
	n := len(p.Actors)
	if n <= plan.Init || p.Root < plan.Init || p.Root >= n || len(p.Births) == 0 || p.Births[birthIndex].Child != plan.Init {
		return nil, fmt.Errorf("plan has %d actors, root %d and %d births", n, p.Root, len(p.Births))
	}
	g := &program{
		forest: f, plan: p, opts: opts,
		first: make([]uint32, n), nops: len(p.Births),
		maker: make([]plan.Ref, n), thread: make([]bool, n),
		process: make([]int32, n), collected: make([]bool, n),
		committer: plan.Init,
	}
	for a := range p.Actors {
		g.first[a] = uint32(g.nops)
		g.nops += len(p.Actors[a].Ops)
		g.maker[a] = plan.Ref{Actor: -1, Op: -1}
		g.process[a] = int32(a)
	}
	for a := range p.Actors {
		if err := g.findChildren(a); err != nil {
			return nil, fmt.Errorf("plan: actor %d: %w", a, err)
		}
	}
	for i := range p.Births[1:] {
		child := p.Births[i+1].Child
		if !g.isActor(child) || g.maker[child].Actor >= 0 {
			return nil, fmt.Errorf("plan: birth of actor %d", child)
		}
		g.outsider = append(g.outsider, child)
	}
	for a := range p.Actors {
		if err := g.checkProgram(a); err != nil {
			return nil, fmt.Errorf("plan: actor %d: %w", a, err)
		}
	}
	for a := plan.Init + 1; a < n; a++ {
		if g.maker[a].Actor < 0 && !slices.Contains(g.outsider, int32(a)) {
			return nil, fmt.Errorf("plan: actor %d is made by nobody", a)
		}
	}
	if err := g.chooseCommitter(); err != nil {
		return nil, err
	}
	return g, g.checkLeaving()
}

func (g *program) checkProgram(a int) error {
	ops := g.plan.Actors[a].Ops
	if len(ops) == 0 {
		return fmt.Errorf("has no program")
	}
	anew := false
	for i := range ops {
		op := &ops[i]
		if anew && g.needsTable(a, op) {
			return fmt.Errorf("operation %d, %v, needs a descriptor, after an exec", i, op.Code)
		}
		anew = anew || op.Code == plan.Exec
		if op.Code.Last() != (i == len(ops)-1) {
			return fmt.Errorf("operation %d of %d is %v", i, len(ops), op.Code)
		}
		if !mayDo(a, op.Code) {
			return fmt.Errorf("operation %d: %v is not for it", i, op.Code)
		}
		for _, r := range op.After {
			if r.Actor < 0 || int(r.Actor) >= len(g.plan.Actors) ||
				r.Op < 0 || int(r.Op) >= len(g.plan.Actors[r.Actor].Ops) {
				return fmt.Errorf("operation %d is after %v, which is not there", i, r)
			}
		}
		if err := g.checkOp(a, op); err != nil {
			return fmt.Errorf("operation %d (%v): %w", i, op.Code, err)
		}
	}
	return nil
}

// needsTable reports whether op needs descriptors that an exec has closed, or
// stacks that it has lost.
func (g *program) needsTable(a int, op *plan.Op) bool {
	switch op.Code {
	case plan.Clone, plan.JoinPID, plan.JoinUser, plan.Keep:
		return true
	case plan.Reap, plan.Await, plan.Stop, plan.Kill:
		return g.unknown(a, op)
	}
	return false
}

// mayDo: the restorer is outside of the forest and does only what cannot be
// done from inside.
func mayDo(a int, c plan.Code) bool {
	switch c {
	case plan.Nop, plan.Kill:
		return true
	case plan.WriteMaps, plan.End:
		return a == plan.Restorer
	case plan.Stop:
		return true // the restorer that of Init
	}
	return a != plan.Restorer
}

func (g *program) checkOp(a int, op *plan.Op) error {
	switch op.Code {
	case plan.Clone:
		return checkClone(op)
	case plan.Kill, plan.Stop:
		if !g.isActor(op.Child) || op.Signal < 0 || op.Signal > 64 || op.Signal == 0 && op.Code == plan.Kill {
			return fmt.Errorf("signal %d for actor %d", op.Signal, op.Child)
		}
		if op.Code == plan.Stop && a == plan.Restorer {
			if op.Child != plan.Init || op.Signal != int32(unix.SIGSTOP) {
				return fmt.Errorf("signal %d for actor %d from outside", op.Signal, op.Child)
			}
			g.rootStop = op
		}
	case plan.Reap, plan.Await:
		if !g.isActor(op.Child) {
			return fmt.Errorf("child %d", op.Child)
		}
		g.collected[op.Child] = true
	case plan.JoinPID, plan.JoinUser:
		if !g.isActor(op.Via) {
			return fmt.Errorf("via %d", op.Via)
		}
	case plan.WriteMaps:
		if !g.isActor(op.Child) || op.Number <= 0 || int(op.Number) >= len(g.forest.UserNamespaces) {
			return fmt.Errorf("user namespace %d, child %d", op.Number, op.Child)
		}
	case plan.Setpgid:
		// Rule 23: such an init can never end, not even by SIGKILL.
		if op.Child < 0 && op.Number > 1 && g.isInit(a) {
			return fmt.Errorf("an init must not join group %d of its own namespace", op.Number)
		}
	case plan.Ignore, plan.Pdeath, plan.Die:
		if op.Signal < 0 || op.Signal > 64 || op.Code != plan.Pdeath && op.Signal == 0 {
			return fmt.Errorf("signal %d", op.Signal)
		}
	case plan.ExitThread:
		if op.Number&^0xff00 != 0 {
			return fmt.Errorf("a thread cannot end itself with status %#x", op.Number)
		}
	case plan.ExitGroup:
		if op.Number&^0xff != 0 {
			return fmt.Errorf("exit code %d", op.Number)
		}
	case plan.Hold:
		g.holds++
		return g.checkHold(a)
	case plan.Serve:
		g.holds++
	case plan.Stay:
		if !slices.Contains(g.outsider, int32(a)) || g.stays != 0 {
			return fmt.Errorf("only one outsider can stay")
		}
		g.holds++
		g.stays = int32(a)
	case plan.Spoil:
		if op.Number < 1 {
			return fmt.Errorf("%d births", op.Number)
		}
		return checkClone(op)
	}
	return nil
}

func (g *program) isActor(a int32) bool {
	return a >= plan.Init && int(a) < len(g.plan.Actors)
}

// runs reports whether the held actor runs a program at the commit: not one
// that is stopped.
func (g *program) runs(a int) bool {
	task := g.plan.Actors[a].Task
	return g.opts.Exec != "" && !g.thread[a] && task >= 0 && g.forest.Tasks[task].State == forest.Running
}

func (g *program) checkHold(a int) error {
	if !g.runs(a) {
		return nil
	}
	_, err := innerIDs(g.forest, &g.forest.Tasks[g.plan.Actors[a].Task])
	return err
}

func checkClone(op *plan.Op) error {
	if len(op.Numbers) > forest.MaxDepth {
		return fmt.Errorf("%d numbers; the kernel takes %d", len(op.Numbers), forest.MaxDepth)
	}
	if op.Signal < 0 || op.Signal > 64 {
		return fmt.Errorf("exit signal %d", op.Signal)
	}
	return nil
}

// findChildren notes whom actor a makes.
func (g *program) findChildren(a int) error {
	for i := range g.plan.Actors[a].Ops {
		op := &g.plan.Actors[a].Ops[i]
		if op.Code != plan.Clone {
			continue
		}
		if !g.isActor(op.Child) || op.Child == plan.Init || g.maker[op.Child].Actor >= 0 {
			return fmt.Errorf("operation %d makes actor %d, which is none or made already", i, op.Child)
		}
		g.maker[op.Child] = plan.Ref{Actor: int32(a), Op: int32(i)}
		g.thread[op.Child] = op.Flags&plan.Thread != 0
	}
	return nil
}

// isInit reports whether actor a is made as the init of a namespace.
func (g *program) isInit(a int) bool {
	m := g.maker[a]
	return a == plan.Init && !inPlace(g.plan) || m.Actor >= 0 &&
		g.plan.Actors[m.Actor].Ops[m.Op].Flags&plan.NewPID != 0
}

// checkLeaving refuses what could not be finished if the coordinator leaves
// before the commit is over, as it must for a parent-death signal.
func (g *program) checkLeaving() error {
	if g.opts.Detach && g.rootStop != nil && g.pdeathOf(int(g.committer)) != 0 {
		return &CannotRunError{"the parent of a root that is stopped and has a parent-death signal",
			"it would fire when the restorer leaves: restore without detaching"}
	}
	for a := range g.plan.Actors {
		if g.opts.Detach && g.thread[a] && g.process[a] == plan.Init && int32(a) != g.committer && g.pdeathOf(a) != 0 {
			return &CannotRunError{"the parent of a root with a thread that has a parent-death signal",
				fmt.Sprintf("that of %s would fire when the restorer leaves: restore without detaching", g.describe(a))}
		}
	}
	return nil
}

// chooseCommitter finds the thread of Init's process that lives on: Init, or
// a held thread of it if Init is to be a dead leader.
func (g *program) chooseCommitter() error {
	for a := range g.plan.Actors {
		if g.thread[a] {
			g.process[a] = g.leader(int32(a))
		}
	}
	if last := g.lastOp(plan.Init).Code; last == plan.Hold || last == plan.Serve {
		return nil
	} else if last != plan.ExitThread {
		return fmt.Errorf("plan: the first task ends with %v", last)
	}
	for a := range g.plan.Actors {
		if g.process[a] == plan.Init && g.thread[a] && g.lastOp(a).Code == plan.Hold {
			g.committer = int32(a)
			if g.opts.Detach && g.pdeathOf(plan.Init) != 0 {
				return &CannotRunError{"the parent of a root whose leader is dead and has a parent-death signal",
					"it would fire when the restorer leaves: restore without detaching"}
			}
			return nil
		}
	}
	return fmt.Errorf("plan: no thread of the first task lives on")
}

func (g *program) leader(a int32) int32 {
	for g.thread[a] {
		a = g.maker[a].Actor
	}
	return a
}

func (g *program) lastOp(a int) *plan.Op {
	ops := g.plan.Actors[a].Ops
	return &ops[len(ops)-1]
}

// pdeathOf is the parent-death signal that an actor ends up with.
func (g *program) pdeathOf(a int) int32 {
	var signal int32
	for i := range g.plan.Actors[a].Ops {
		if op := &g.plan.Actors[a].Ops[i]; op.Code == plan.Pdeath {
			signal = op.Signal
		}
	}
	return signal
}

// index of the operation in the stub's memory.
func (g *program) index(r plan.Ref) uint32 { return g.first[r.Actor] + uint32(r.Op) }

// ref is the reverse of index; false for a birth.
func (g *program) ref(index uint32) (plan.Ref, bool) {
	a := sort.Search(len(g.first), func(a int) bool { return g.first[a] > index }) - 1
	if a < 0 {
		return plan.Ref{}, false
	}
	return plan.Ref{Actor: int32(a), Op: int32(index - g.first[a])}, true
}

// data is what operations need beyond their fixed fields, in order.
type data struct {
	base uint64 // offset in the plan
	b    []byte
}

func (d *data) at() uint64 { return d.base + uint64(len(d.b)) }

func (d *data) align(n uint64) {
	for d.at()%n != 0 {
		d.b = append(d.b, 0)
	}
}

func (d *data) word(v uint32) { d.b = binary.NativeEndian.AppendUint32(d.b, v) }
func (d *data) long(v uint64) { d.b = binary.NativeEndian.AppendUint64(d.b, v) }
func (d *data) zeros(n int)   { d.b = append(d.b, make([]byte, n)...) }

// text appends a C string and says at which address the stub sees it.
func (d *data) text(s string) uint64 {
	at := stub.PlanAddr + d.at()
	d.b = append(append(d.b, s...), 0)
	return at
}

// encode fills ops and actors of the stub's memory and returns the rest.
func (g *program) encode(hdr *stub.Plan, actors []stub.Actor, ops []stub.Op, base uint64) []byte {
	d := &data{base: base}
	*hdr = stub.Plan{
		Magic: stub.Magic, Version: stub.Version,
		NActors: uint32(len(actors)), NOps: uint32(len(ops)),
		NBirths: uint32(len(g.plan.Births)), Init: plan.Init, Committer: uint32(g.committer),
		NHolds: uint32(g.holds), RootNumber: g.rootNumber(),
		Pdeath: g.pdeathOf(int(g.committer)), SelfPidfd: -1, Stays: uint32(g.stays),
	}
	if g.opts.Memory == OwnMemory {
		hdr.Flags |= stub.OwnMemory
	}
	if g.opts.Detach {
		hdr.Flags |= stub.Detach
	}
	if g.opts.nullStdio() {
		hdr.Flags |= stub.NullStdio
	}
	if g.cgroup != "" {
		hdr.Flags |= stub.InPlace
		hdr.Cgroup = d.text(g.cgroup)
	}
	if g.committer != plan.Init {
		hdr.LeaderPdeath = g.pdeathOf(plan.Init)
	}
	if g.rootStop != nil {
		hdr.RootStop = 1 + uint32(g.rootStop.Number)
	}
	if root := g.plan.Actors[g.plan.Root].Task; g.plan.Root != plan.Init && root >= 0 && g.forest.Tasks[root].State == forest.Zombie {
		hdr.Flags |= stub.RootEnded
	}
	if g.rootWaits() {
		hdr.Flags |= stub.RootWaits
	}
	hdr.Report = uint32(d.at())
	d.zeros(g.opts.reportMax())

	var env *environment
	if g.opts.Exec != "" {
		hdr.Flags |= stub.Exec
		env = newEnvironment(g.forest, hdr, d, g.opts.Exec)
	}

	for i := range g.plan.Births {
		op := g.plan.Births[i]
		op.Flags |= plan.Pidfd // to end it by
		g.encodeOp(&ops[i], &op, d)
	}
	beside := g.besides()
	for a := range g.plan.Actors {
		actors[a] = stub.Actor{First: g.first[a], Count: uint32(len(g.plan.Actors[a].Ops)), Pidfd: -1, UserFd: -1, NsFd: -1}
		if beside[a] {
			actors[a].Beside = 1
		}
		for i := range g.plan.Actors[a].Ops {
			op := &g.plan.Actors[a].Ops[i]
			out := &ops[g.first[a]+uint32(i)]
			if op.Code == plan.Hold && g.runs(a) {
				g.encodeProgram(out, op, a, env, d)
				continue
			}
			if op.Code == plan.Clone && beside[op.Child] {
				withFD := *op
				withFD.Flags |= plan.Pidfd // to end it by
				op = &withFD
			}
			g.encodeOp(out, op, d)
			if op.Code == plan.Pdeath && (a == plan.Init || int32(a) == g.committer) {
				out.Code = uint8(plan.Nop) // at the commit, or as a leader dies
			}
			if ending(op.Code) && !g.collected[g.process[a]] {
				out.Mark |= stub.MarkTrace
			}
			if ending(op.Code) && g.lingers(a) {
				out.Mark |= stub.MarkLinger
			}
		}
	}
	g.mark(ops)
	return d.b
}

func ending(c plan.Code) bool {
	return c == plan.ExitThread || c == plan.ExitGroup || c == plan.Die
}

// rootWaits reports whether the root is an init that waits for its namespace.
func (g *program) rootWaits() bool {
	for a := range g.plan.Actors {
		if g.process[a] == int32(g.plan.Root) && g.lingers(a) {
			return true
		}
	}
	return false
}

// rootNumber is the root's number in the namespace of the holder that is its
// parent.
func (g *program) rootNumber() int32 {
	m := g.maker[g.plan.Root]
	if m.Actor < 0 {
		return 0
	}
	numbers := g.plan.Actors[m.Actor].Ops[m.Op].Numbers
	if len(numbers) == 0 {
		return 0
	}
	return numbers[len(numbers)-1]
}

func (g *program) encodeOp(out *stub.Op, op *plan.Op, d *data) {
	*out = stub.Op{
		Code: uint8(op.Code), Flags: uint8(op.Flags), Count: uint8(len(op.Numbers)),
		Child: op.Child, Number: op.Number,
	}
	g.encodeAfter(out, op, d)
	switch op.Code {
	case plan.Clone:
		out.Arg = op.Signal
		if op.Flags&plan.NewUser != 0 {
			d.ids(op)
		}
		for _, n := range op.Numbers {
			d.word(uint32(n))
		}
	case plan.UnshareUser, plan.SetIDs:
		d.ids(op)
	case plan.Spoil:
		for _, n := range op.Numbers {
			d.word(uint32(n))
		}
	case plan.Comm:
		var comm [stub.CommSize]byte
		copy(comm[:len(comm)-1], op.Text)
		d.b = append(d.b, comm[:]...)
	case plan.ExitThread:
		out.Number >>= 8
		d.zeros(stub.TraceSize)
	case plan.ExitGroup:
		d.zeros(stub.TraceSize)
	case plan.Die:
		out.Arg = op.Signal
		d.zeros(stub.TraceSize)
	case plan.Setpgid, plan.Reap, plan.Await:
		out.Arg = op.Pid
	case plan.Kill:
		out.Arg, out.Number = op.Pid, op.Signal
	case plan.Stop:
		out.Arg, out.Number, out.Count = op.Pid, op.Signal, uint8(op.Number)
	case plan.JoinPID, plan.JoinUser:
		out.Arg = op.Via
	case plan.Ignore, plan.Pdeath:
		out.Arg = op.Signal
	}
}

func (d *data) ids(op *plan.Op) {
	other := forest.OtherIDs{SUID: op.EUID, FSUID: op.EUID, SGID: op.EGID, FSGID: op.EGID}
	if op.Other != nil {
		other = *op.Other
	}
	for _, id := range []uint32{op.UID, op.EUID, other.SUID, other.FSUID, op.GID, op.EGID, other.SGID, other.FSGID} {
		d.word(id)
	}
}

func (g *program) encodeAfter(out *stub.Op, op *plan.Op, d *data) {
	d.align(4)
	out.Data = uint32(d.at() / 4)
	out.NAfter = uint32(len(op.After))
	for _, r := range op.After {
		d.word(g.index(r))
	}
}

// mark finds which operations anybody waits for, so that no other one costs a
// system call, and whose children need a descriptor.
func (g *program) mark(ops []stub.Op) {
	pidfd := make([]bool, len(g.plan.Actors))
	pidfd[g.plan.Root] = true
	for a := range g.plan.Actors {
		for _, op := range g.plan.Actors[a].Ops {
			for _, r := range op.After {
				o := &ops[g.index(r)]
				o.Mark |= stub.MarkNotify
				if a == plan.Restorer {
					o.Mark |= stub.MarkBell
				}
				if ending(plan.Code(o.Code)) {
					o.Mark |= stub.MarkTrace
				}
			}
			switch op.Code {
			case plan.JoinPID, plan.JoinUser:
				pidfd[op.Via] = pidfd[op.Via] || int(op.Via) != a
			case plan.WriteMaps, plan.Kill:
				pidfd[op.Child] = pidfd[op.Child] || a == plan.Restorer || g.unknown(a, &op)
			case plan.Reap, plan.Await, plan.Stop:
				pidfd[op.Child] = pidfd[op.Child] || g.unknown(a, &op)
			}
		}
	}
	for a := range g.plan.Actors {
		if g.lingers(a) && g.lastOp(a).Code == plan.Perish {
			leader := g.process[a]
			g.lingering = append(g.lingering, leader)
			pidfd[leader] = true
		}
	}
	for a, m := range g.maker {
		if m.Actor >= 0 && pidfd[a] {
			ops[g.index(m)].Flags |= uint8(plan.Pidfd)
		}
	}
}

// unknown reports whether actor a knows the child of op, which another made,
// by a descriptor only: it has no number in the forest for it.
func (g *program) unknown(a int, op *plan.Op) bool {
	return op.Child >= 0 && op.Pid == 0 && g.maker[op.Child].Actor != int32(a)
}

// lingers reports whether actor a becomes an init that waits for its namespace
// to become empty. A warden that ends stands for one that does.
func (g *program) lingers(a int) bool {
	if g.plan.Actors[a].Role == plan.RoleWarden {
		return ending(g.lastOp(a).Code)
	}
	task := g.plan.Actors[a].Task
	return task >= 0 && g.forest.Tasks[task].State == forest.ExitingInit
}
