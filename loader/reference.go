// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/bpf"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
)

// What a reference uses its object as (bpf/record.h, enum reference_use).
var referenceKinds = []forest.ReferenceKind{
	forest.TerminalSession, forest.TerminalGroup, forest.PIDFD,
	forest.OwnerThread, forest.OwnerProcess, forest.OwnerGroup,
}

// needReferences makes ready what looks for references.
func (l *Loader) needReferences() error {
	names := []string{bpf.PidsProgTerminals, bpf.PidsProgFiles}
	if err := l.need(names...); err != nil {
		return err
	}
	for _, name := range names {
		it, err := link.AttachIter(link.IterOptions{Program: l.coll.Programs[name]})
		if err != nil {
			return explain("attach the iterator over "+name, err)
		}
		l.references = append(l.references, it)
	}
	return nil
}

// passReferences adds the references to a pass.
func (l *Loader) passReferences(ctx context.Context, recs *records) error {
	for _, it := range l.references {
		stuck, before := 0, 0
		err := read(it, func() (bool, error) {
			if err := l.drain(recs); err != nil {
				return false, err
			}
			if stuck++; len(recs.snapshot.References) > before {
				stuck, before = 0, len(recs.snapshot.References)
			}
			if stuck > 10_000 {
				return false, errors.New("the iterator over references makes no progress")
			}
			return true, ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *records) addReference(c *cursor) error {
	use := c.u32()
	ref := collector.Reference{Object: c.id(), Task: c.id(), FD: c.s32()}
	c.skip(4)
	name := c.take(forest.MaxTerminal + 1)
	if err := c.done("reference record"); err != nil {
		return err
	}
	if int(use) >= len(referenceKinds) {
		return fmt.Errorf("reference record: unknown use %d", use)
	}
	ref.Kind = referenceKinds[use]
	if ref.Kind.IsTerminal() {
		ref.Terminal = unix.ByteSliceToString(name)
	}
	r.snapshot.References = append(r.snapshot.References, ref)
	return nil
}
