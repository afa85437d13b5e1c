// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pidgraft/pidgraft/collector"
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// listReasons is a dump without an image: what stands against one.
func (d *dump) listReasons(ctx context.Context, pid int) error {
	scope, err := d.scope()
	switch {
	case err != nil:
		return err
	case d.out.path != "-" || d.out.force || d.compress:
		return usageError{errors.New("--why-not writes no image: -o, --force and --compress mean nothing with it")}
	case d.inexact:
		return usageError{errors.New("--why-not lists what --inexact does not mind: choose one")}
	}
	types, err := d.types.read()
	if err != nil {
		return err
	}
	f, err := look{pid: pid, scope: scope, freeze: d.freeze, retries: d.retries, types: types, all: true}.take(ctx)
	var refused collector.Refusals
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	reasons := reasonsAgainst(f, refused)
	w := bufio.NewWriter(os.Stdout)
	for _, r := range reasons {
		fmt.Fprintln(w, r)
	}
	if len(reasons) == 0 {
		fmt.Fprintf(w, "nothing stands against an exact restore of %d tasks\n", len(f.Tasks))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(reasons) > 0 {
		return silent(exitRefused)
	}
	return nil
}

// reasonsAgainst are all reasons against rebuilding f: those of the collector;
// then, if it has any, what can be checked of each task and namespace by
// itself, else all that planning finds.
func reasonsAgainst(f *forest.Forest, refused collector.Refusals) []string {
	var reasons []string
	for _, err := range refused {
		reasons = append(reasons, err.Error())
	}
	reasons = append(reasons, f.Inexact...)
	if len(refused) > 0 {
		for _, r := range plan.Check(f, planOptions()) {
			reasons = append(reasons, r.Error())
		}
		return reasons
	}
	if err := forest.Validate(f); err != nil {
		return append(reasons, err.Error())
	}
	return append(reasons, planReasons(f)...)
}
