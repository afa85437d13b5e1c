// SPDX-License-Identifier: Apache-2.0

package foresttest

import "github.com/pidgraft/pidgraft/forest"

// Referenced is Sample with a reference of each kind: a terminal, and
// descriptors of tasks of the forest and of somebody beside it.
func Referenced() *forest.Forest {
	f := Sample()
	tag := func(task int) forest.Tag { return f.Tasks[task].Pid }
	f.References = forest.SortReferences([]forest.Reference{
		{Object: tag(1), Kind: forest.TerminalSession, FD: forest.NoFD, Terminal: "pts3"},
		{Object: f.Tasks[2].PGID, Kind: forest.TerminalGroup, FD: forest.NoFD, Terminal: "pts3"},
		{Object: tag(7), Kind: forest.OwnerThread, Holder: tag(7), FD: 4},
		{Object: tag(1), Kind: forest.OwnerProcess, Holder: tag(2), FD: 5},
		{Object: f.Tasks[9].PGID, Kind: forest.OwnerGroup, Holder: tag(9), FD: 6},
		{Object: tag(0), Kind: forest.PIDFD, FD: forest.NoFD},
		{Object: tag(5), Kind: forest.PIDFD, Holder: tag(4), FD: 3},
		{Object: forest.Outside, Kind: forest.PIDFD, Holder: tag(0), FD: 9},
	})
	return f
}

// references draws some, of any kind.
func (r *random) references(f *forest.Forest) {
	var refs []forest.Reference
	for range r.int(0, 6, "references") {
		ref := forest.Reference{
			Object: forest.Tag(r.int(1, len(f.Pids), "object")),
			Kind:   forest.ReferenceKind(r.int(0, int(forest.PIDFD), "kind")), FD: forest.NoFD,
		}
		switch {
		case ref.Kind.IsTerminal():
			ref.Terminal = pick(r, []string{"tty1", "pts0", "pts12", "\xff\n"}, "terminal")
		case r.oneIn(2, "inside"):
			ref.Holder = f.Tasks[r.int(0, len(f.Tasks)-1, "holder")].Pid
			ref.FD = int32(r.int(0, 1<<20, "descriptor"))
			if r.oneIn(4, "gone") {
				ref.Object = forest.Outside
			}
		}
		refs = append(refs, ref)
	}
	f.References = forest.SortReferences(refs)
}
