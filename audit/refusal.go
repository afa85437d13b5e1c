// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
)

// Refusal is a container of which a checkpoint would be refused.
type Refusal struct {
	Namespace collector.ID
	Inode     uint32 // of that
	Reasons   []string
}

// shownReasons is how many reasons a finding tells.
const shownReasons = 3

func (r Refusal) finding(ns *state.Namespace) finding.Finding {
	text := strings.Join(r.Reasons[:min(len(r.Reasons), shownReasons)], "; ")
	if more := len(r.Reasons) - shownReasons; more > 0 {
		text += fmt.Sprintf("; and %d reasons more", more)
	}
	return finding.Finding{
		Kind: finding.Refused, Severity: finding.Info, Namespace: ns, Key: fmt.Sprintf("%s/%d", finding.Refused, ns.Inode),
		Text: fmt.Sprintf("a checkpoint of pid namespace %d would be refused: %s", ns.Inode, text),
	}
}

// Refuser looks for what stands against checkpoints of containers.
type Refuser struct {
	Snapshot func(context.Context) (*collector.Snapshot, error)
	// Reasons are those against rebuilding a forest, of which refused is what
	// the collector refuses.
	Reasons func(f *forest.Forest, refused collector.Refusals) []string
	// Chosen are the namespaces to look at. Without any, it is the one that
	// snapshots are of; or, if that is the looker's own, those right below it.
	Chosen Chosen
}

// Check lists the containers that have reasons against a checkpoint, with those
// that two passes showed: one alone may have raced with what it looked at.
//
// Errors: those of the snapshots.
func (r *Refuser) Check(ctx context.Context) ([]Refusal, error) {
	found, err := r.look(ctx)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	again, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	var all []Refusal
	for _, f := range found {
		i := slices.IndexFunc(again, func(a Refusal) bool { return a.Namespace == f.Namespace && a.Inode == f.Inode })
		if i < 0 {
			continue
		}
		f.Reasons = slices.DeleteFunc(f.Reasons, func(reason string) bool { return !slices.Contains(again[i].Reasons, reason) })
		if len(f.Reasons) > 0 {
			all = append(all, f)
		}
	}
	return all, nil
}

func (r *Refuser) look(ctx context.Context) ([]Refusal, error) {
	s, err := r.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var all []Refusal
	for i := range s.Namespaces {
		ns := &s.Namespaces[i]
		switch {
		case len(r.Chosen) > 0 && !r.Chosen[ns.Inode]:
			continue
		case len(r.Chosen) == 0 && s.Root != 0 && ns.ID != s.Namespace:
			continue
		case len(r.Chosen) == 0 && s.Root == 0 && ns.Parent != s.Namespace:
			continue
		}
		contained, ok := s.Contain(ns.ID)
		if !ok {
			continue
		}
		f, err := collector.Collect(contained, forest.Container, collector.Options{All: true})
		var refused collector.Refusals
		if err != nil && !errors.As(err, &refused) {
			// It changed, or it is this process's own.
			continue
		}
		if reasons := r.Reasons(f, refused); len(reasons) > 0 {
			all = append(all, Refusal{ns.ID, ns.Inode, reasons})
		}
	}
	return all, nil
}
