// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/finding"
	"github.com/pidgraft/pidgraft/audit/follow"
	"github.com/pidgraft/pidgraft/audit/record"
)

// errIncomplete: a check did not see everything, so it does not say that nothing
// is wrong.
var errIncomplete = errors.New("not everything was seen")

func checkCommand() *cobra.Command {
	a := &auditing{format: &choice{"table", []string{"jsonl", "table"}}}
	failOn := &choice{finding.Warning.String(), []string{"info", "warning", "critical"}}
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "check [flags]",
		Short: "Say once what is wrong in a pid namespace",
		Long: `Look at pid namespaces and all below them, by default this process's own, for as
long as --for says, and print what was wrong all that time; see pidgraft audit.

The exit code is 0 if there is nothing at or above --fail-on, 1 if there is, 3
if it cannot be done here, and 4 if not everything could be seen: what is
incomplete is never called clean.`,
		Example: `  pidgraft check && echo clean
  pidgraft check --pid 4711 --fail-on critical -o jsonl`,
		Annotations: overhead("That of pidgraft-audit(1) for as long as it looks."),
		Args:        cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			least, err := finding.ParseSeverity(failOn.value)
			if err != nil {
				return usageError{err}
			}
			return a.check(watch, least)
		},
	}
	a.add(cmd)
	fs := cmd.Flags()
	fs.Var(failOn, "fail-on", "the least severity that fails: info, `warning` or critical")
	fs.DurationVar(&watch, "for", 2*time.Second, "how long to look")
	return cmd
}

// check is one look.
func (a *auditing) check(watch time.Duration, least finding.Severity) (err error) {
	if watch <= 0 {
		return usageError{fmt.Errorf("--for %v: some time is wanted", watch)}
	}
	allow, err := a.readAllow()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	header, err := a.open()
	defer func() { err = errors.Join(err, a.close()) }()
	if err != nil {
		return err
	}
	header.OnLoss, header.Allowed = "resync", allow.Len()
	failed := false
	naming := a.naming(ctx)
	var auditor *audit.Auditor
	auditor = audit.New(a.live, audit.Options{
		Follow:    follow.Options{Heal: true, Settle: watch / 2},
		NoEvents:  true,
		FindEvery: 24 * time.Hour, // asked for below
		PidMax:    machinePidMax(),
		Chosen:    a.chosen.set(),
		// What is wrong at both ends of the time is wrong.
		Finding: finding.Options{ZombieAfter: watch / 2, ExitAfter: watch / 2, Hold: watch / 2},
		Emit: func(r *record.Record) error {
			a.tookSnapshot(r.Snapshot)
			naming.name(auditor, r)
			if f := r.Finding; f != nil && f.Status == "raised" {
				severity, err := finding.ParseSeverity(f.Severity)
				failed = failed || err != nil || severity >= least
			}
			return a.out.write(r)
		},
	})
	auditor.Allow(allow)
	if err := auditor.Header(header); err != nil {
		return err
	}
	if err := a.look(ctx, auditor, watch); err != nil {
		return errors.Join(err, a.out.flush())
	}
	complete := auditor.Complete()
	// A new snapshot shows what has become of it all, and not who entered
	// meanwhile.
	lost := auditor.Totals().Lost()
	if err := errors.Join(auditor.Drain(), auditor.Summary(), a.out.flush()); err != nil {
		return err
	}
	switch {
	case !complete:
		return fmt.Errorf("%w: the state did not become complete", errIncomplete)
	case lost > 0:
		return fmt.Errorf("%w: %d events were lost, and one of them may have been somebody's entry from outside", errIncomplete, lost)
	case failed:
		return silent(exitDifference)
	}
	return nil
}

// look follows the namespace for some time after the first snapshot, and looks
// for what is wrong when it begins and when it ends.
func (a *auditing) look(ctx context.Context, auditor *audit.Auditor, watch time.Duration) error {
	a.first = a.beginFirst()
	defer a.first.stop()
	patience := time.Now().Add(watch + 10*time.Second)
	until := func(ok func() bool) error {
		for !ok() && ctx.Err() == nil && time.Now().Before(patience) {
			if err := auditor.Advance(ctx, time.Now().Add(20*time.Millisecond)); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
		return nil
	}
	complete := func() bool { return auditor.State() != nil && auditor.Complete() }
	if err := until(complete); err != nil {
		return err
	}
	if err := a.lookAround(ctx, auditor); err != nil {
		return err
	}
	auditor.Look()
	begun := time.Now()
	end := begun.Add(watch)
	looking := beginStep("look", func() standing {
		return standing{done: int64(time.Since(begun).Seconds()), of: int64(watch.Seconds()), unit: "s"}
	})
	defer looking.stop()
	if err := until(func() bool { return time.Now().After(end) && complete() && !auditor.Pending() }); err != nil {
		return err
	}
	if err := a.lookAround(ctx, auditor); err != nil {
		return err
	}
	looking.end("events", auditor.Totals().Sent())
	// What has been read meanwhile.
	if err := auditor.Advance(ctx, time.Now()); err != nil {
		return err
	}
	auditor.Look()
	return nil
}

// lookAround looks for hidden processes, and for what stands against checkpoints.
func (a *auditing) lookAround(ctx context.Context, auditor *audit.Auditor) error {
	hiding, err := a.checker().Check(ctx)
	if err != nil {
		return err
	}
	refused, err := a.refuser().Check(ctx)
	if err != nil {
		return err
	}
	auditor.Hiding(hiding)
	auditor.Refused(refused)
	return nil
}
