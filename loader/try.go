// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"os"

	"github.com/cilium/ebpf/btf"
)

// Trial finds out what can be done on a machine by doing it, and looks at nothing.
// What one attempt loads the next have, until Close.
type Trial struct {
	types *Types
	cache *btf.Cache
	l     *Loader
	err   error
}

// NewTrial is a Trial with these types, as in Target. In cache all types of the
// kernel are kept, if they are read.
func NewTrial(types *Types, cache *btf.Cache) *Trial { return &Trial{types: types, cache: cache} }

// loader has the programs that every attempt takes, if they can be loaded.
func (t *Trial) loader() (*Loader, error) {
	if t.l == nil && t.err == nil {
		t.l = &Loader{pidfd: -1, scope: Container, pid: os.Getpid(), types: t.cache}
		t.err = t.l.prepare(Target{Scope: Container, Types: t.types}, 0, true)
		if t.err == nil {
			// While they are attached, every system call takes the slow path.
			t.err = t.l.unwatch()
		}
	}
	return t.l, t.err
}

// Look attempts what looking at a target of a scope other than Auto takes. walk is
// as WalkError says.
//
// Errors: ErrNotPermitted, ErrNoBTF, ErrUnsupported.
func (t *Trial) Look(scope Scope) (walk, err error) {
	l, err := t.loader()
	if err != nil {
		return nil, err
	}
	if scope != Container || l.walkErr != nil {
		if err := l.needTasks(); err != nil {
			return l.walkErr, err
		}
	}
	return l.walkErr, nil
}

// Follow follows the machine by a source, and ends that at once.
//
// Errors: those of Look.
func (t *Trial) Follow(source Source) error {
	l, err := t.loader()
	if err != nil {
		return err
	}
	l.scope = Machine
	if err := l.begin(Target{Scope: Machine, Unwatched: true, Types: t.types}); err != nil {
		return err
	}
	// Nothing is read: the least room will do.
	s, err := l.Follow(StreamOptions{Source: source, Types: t.types, RingBytes: uint32(os.Getpagesize())})
	if err != nil {
		return err
	}
	return s.Close()
}

// Close takes away what was loaded.
func (t *Trial) Close() error {
	if t.l == nil {
		return nil
	}
	l := t.l
	t.l, t.err = nil, nil
	return l.Close()
}
