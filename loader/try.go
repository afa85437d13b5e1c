// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"
)

// Try loads and attaches what looking at a target of a scope other than Auto
// takes, looks at nothing, and takes it away again. walk is as WalkError says.
//
// Errors: ErrNotPermitted, ErrNoBTF, ErrUnsupported.
func Try(scope Scope, types *Types) (walk, err error) {
	l := &Loader{pidfd: -1, scope: scope}
	defer l.Close()
	if err := l.prepare(Target{Scope: scope, Types: types}, 0, true); err != nil {
		return nil, err
	}
	if scope != Container || l.walkErr != nil {
		if err := l.needTasks(); err != nil {
			return l.walkErr, err
		}
	}
	return l.walkErr, nil
}

// TryFollow follows the machine by a source, and ends that at once.
//
// Errors: those of Try.
func TryFollow(source Source, types *Types) error {
	l, err := Open(Target{Scope: Machine, Unwatched: true, Types: types})
	if err != nil {
		return err
	}
	// Nothing is read: the least room will do.
	s, err := l.Follow(StreamOptions{Source: source, Types: types, RingBytes: uint32(os.Getpagesize())})
	if err == nil {
		err = s.Close()
	}
	return errors.Join(err, l.Close())
}
