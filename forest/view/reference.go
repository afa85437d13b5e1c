// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// references lists who else holds the pid objects.
func (t *tree) references() {
	if len(t.f.References) == 0 {
		return
	}
	fmt.Fprint(t.w, "\nreferences: who else holds pid objects\n")
	for _, r := range t.f.References {
		object := "an object that is gone or outside"
		if r.Object != forest.Outside {
			object = t.f.TagName(r.Object)
		}
		fmt.Fprintf(t.w, "  %s: %s\n", t.o.text(bold, object), t.holder(r))
	}
}

// uses are what the object is to the file or the terminal that holds it.
var uses = map[forest.ReferenceKind]string{
	forest.TerminalSession: "the session of",
	forest.TerminalGroup:   "the foreground group of",
	forest.OwnerThread:     "the owner, as a thread, of",
	forest.OwnerProcess:    "the owner of",
	forest.OwnerGroup:      "the owner, as a group, of",
	forest.PIDFD:           "in the pidfd of",
}

func (t *tree) holder(r forest.Reference) string {
	switch {
	case r.Kind.IsTerminal():
		return uses[r.Kind] + " terminal " + forest.Escape(r.Terminal)
	case r.Holder == forest.Outside:
		return uses[r.Kind] + " a descriptor of somebody outside"
	}
	return fmt.Sprintf("%s descriptor %d of %s", uses[r.Kind], r.FD, t.f.TaskName(t.x.TaskOf(r.Holder)))
}

type jsonReference struct {
	Object   forest.Tag `json:"object"`
	Kind     string     `json:"kind"`
	Holder   forest.Tag `json:"holder"`
	FD       *int32     `json:"fd"`
	Terminal string     `json:"terminal"`
}

func jsonReferences(refs []forest.Reference) []jsonReference {
	out := make([]jsonReference, len(refs))
	for i := range refs {
		r := &refs[i]
		out[i] = jsonReference{r.Object, r.Kind.String(), r.Holder, nil, forest.Escape(r.Terminal)}
		if r.FD != forest.NoFD {
			out[i].FD = &r.FD
		}
	}
	return out
}
