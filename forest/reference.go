// SPDX-License-Identifier: Apache-2.0

package forest

import (
	"cmp"
	"slices"
	"strings"
)

// ReferenceKind is how something that is no task's id refers to a pid object.
type ReferenceKind uint8

const (
	// TerminalSession: the session whose controlling terminal it is
	// (tty_struct.ctrl.session).
	TerminalSession ReferenceKind = iota
	// TerminalGroup: the terminal's foreground group (tty_struct.ctrl.pgrp).
	TerminalGroup
	// OwnerThread, OwnerProcess, OwnerGroup: whom a file's signals go to
	// (fown_struct.pid; fcntl F_SETOWN and F_SETOWN_EX).
	OwnerThread
	OwnerProcess
	OwnerGroup
	// PIDFD: an open pidfd.
	PIDFD
)

func (k ReferenceKind) String() string {
	return name([]string{
		"terminal session", "terminal foreground group", "file owner thread", "file owner", "file owner group", "pidfd",
	}, int(k))
}

// IsTerminal reports whether a terminal refers, not a descriptor.
func (k ReferenceKind) IsTerminal() bool { return k <= TerminalGroup }

// MaxTerminal is how many bytes a terminal's name has (tty_struct.name).
const MaxTerminal = 63

// Reference is a holder of a pid object that is no task's id. It keeps the
// object in memory and does not keep its number: it says who else looks at the
// forest, and is not rebuilt. At least one of Object and Holder is of the forest.
type Reference struct {
	Object Tag // Outside: not of the forest, or gone
	Kind   ReferenceKind
	// Holder is the task in whose descriptor table it was found: the leader,
	// unless a thread has a table of its own. Outside: somebody beside the
	// forest, of whom nothing more is said; or a terminal.
	Holder Tag
	// FD is the holder's descriptor; NoFD if the holder is not of the forest.
	FD       int32
	Terminal string // its name ("pts3"); empty unless Kind.IsTerminal
}

// NoFD is the descriptor of a reference without one.
const NoFD = -1

// Compare orders references: by object, kind, holder, descriptor and terminal.
func (r Reference) Compare(other Reference) int {
	return cmp.Or(
		cmp.Compare(r.Object, other.Object), cmp.Compare(r.Kind, other.Kind),
		cmp.Compare(r.Holder, other.Holder), cmp.Compare(r.FD, other.FD),
		cmp.Compare(r.Terminal, other.Terminal),
	)
}

// SortReferences brings references into the order that a forest has them in,
// each once.
func SortReferences(r []Reference) []Reference {
	slices.SortFunc(r, Reference.Compare)
	return slices.Compact(r)
}

// references checks what the forest says of its references.
func (v *validator) references() *Invalid {
	refs := v.f.References
	for i, r := range refs {
		reject := func(format string, args ...any) *Invalid {
			e := invalid(RuleReference, "reference", format, args...)
			e.Tag = cmp.Or(r.Object, r.Holder)
			return e
		}
		switch {
		case r.Kind > PIDFD:
			return reject("kind %d of %d is unknown", r.Kind, i)
		case r.Object < 0 || int(r.Object) > len(v.f.Pids):
			return reject("number %d is to object %v, which is not in the forest", i, r.Object)
		case r.Holder < 0 || int(r.Holder) > len(v.f.Pids) || r.Holder != 0 && v.taskOf[r.Holder-1] == None:
			return reject("number %d is held by %v, which is no task of the forest", i, r.Holder)
		case r.Object == Outside && r.Holder == Outside && !r.Kind.IsTerminal():
			return reject("number %d has nothing to do with the forest", i)
		case r.Kind.IsTerminal() && (r.Object == Outside || r.Holder != Outside):
			return reject("number %d, a terminal's, is to %v and held by %v", i, r.Object, r.Holder)
		case r.Kind.IsTerminal() != (r.Terminal != ""):
			return reject("number %d, a %v, is of terminal %q", i, r.Kind, r.Terminal)
		case len(r.Terminal) > MaxTerminal || strings.IndexByte(r.Terminal, 0) >= 0:
			return reject("number %d: a terminal's name has %d bytes or holds a NUL; at most %d fit", i, len(r.Terminal), MaxTerminal)
		case (r.Holder == Outside) != (r.FD == NoFD) || r.FD < NoFD:
			return reject("number %d, held by %v, has descriptor %d", i, r.Holder, r.FD)
		case i > 0 && refs[i-1].Compare(r) >= 0:
			return reject("number %d does not come after the one before it", i)
		}
	}
	return nil
}
