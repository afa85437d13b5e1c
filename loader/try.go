// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"errors"
	"os"

	"github.com/cilium/ebpf/btf"
)

// Try loads and attaches what looking at a target of a scope other than Auto
// takes, looks at nothing, and takes it away again. walk is as WalkError says.
// In cache all types of the kernel are kept, if they are read.
//
// Errors: ErrNotPermitted, ErrNoBTF, ErrUnsupported.
func Try(scope Scope, types *Types, cache *btf.Cache) (walk, err error) {
	l := &Loader{pidfd: -1, scope: scope, types: cache}
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
func TryFollow(source Source, types *Types, cache *btf.Cache) error {
	l := &Loader{pidfd: -1, scope: Machine, pid: os.Getpid(), types: cache}
	target := Target{Scope: Machine, Unwatched: true, Types: types}
	err := l.prepare(target, 0, false)
	if err == nil {
		err = l.begin(target)
	}
	if err == nil {
		// Nothing is read: the least room will do.
		var s *Stream
		if s, err = l.Follow(StreamOptions{Source: source, Types: types, RingBytes: uint32(os.Getpagesize())}); err == nil {
			err = s.Close()
		}
	}
	return errors.Join(err, l.Close())
}
