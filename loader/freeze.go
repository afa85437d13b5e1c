// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/pidgraft/pidgraft/collector"
)

// ErrNoCgroup: the target has no cgroup of its own that could be frozen.
var ErrNoCgroup = errors.New("no cgroup of its own to freeze")

// freezeTimeout is how long a target may take to come to rest. A task in an
// uninterruptible sleep can hold it up.
const freezeTimeout = 10 * time.Second

// Freeze stops the target through its cgroup and waits until it rests. It must
// be the target's own: nothing else may be in it, and nothing of the target
// outside, which is checked before and again after. Cgroup v2 is preferred to
// the v1 freezer, and an outer cgroup to an inner one, as a target may spread
// over several.
//
// The returned function thaws; it may be called twice. Until then a guard, a
// process of its own, thaws when this process dies, also by SIGKILL. A target
// that somebody else had frozen stays frozen.
//
// Errors: ErrNoCgroup with what is in the way; those of Snapshot.
func (l *Loader) Freeze(ctx context.Context) (thaw func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	h, dir, err := l.findCgroup(ctx)
	if err != nil {
		return nil, err
	}
	switch asked, err := h.asked(dir); {
	case err != nil:
		return nil, fmt.Errorf("freeze %s: %w", dir, err)
	case asked:
		thaw = func() error { return nil }
	default:
		if thaw, err = freeze(h, dir); err != nil {
			return nil, err
		}
	}
	if err := l.checkFrozen(ctx, h, dir); err != nil {
		return nil, errors.Join(err, thaw())
	}
	return thaw, nil
}

// freeze asks for it, under guard.
func freeze(h hierarchy, dir string) (func() error, error) {
	control, err := os.OpenFile(filepath.Join(dir, h.freezeFile()), os.O_WRONLY, 0)
	if err != nil {
		return nil, noAccess("freeze "+dir, err)
	}
	defer control.Close()
	g, err := startGuard(control, h.thawWord())
	if err != nil {
		return nil, fmt.Errorf("freeze %s: guard: %w", dir, err)
	}
	if _, err := control.WriteString(h.freezeWord()); err != nil {
		return nil, errors.Join(fmt.Errorf("freeze %s: %w", dir, err), g.thaw())
	}
	return g.thaw, nil
}

// checkFrozen waits until the cgroup rests, and then makes sure that it is
// exactly the target.
func (l *Loader) checkFrozen(ctx context.Context, h hierarchy, dir string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		frozen, err := h.frozen(dir)
		if err != nil {
			return fmt.Errorf("freeze %s: %w", dir, err)
		}
		if frozen {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("freeze %s: it does not come to rest: a task in an uninterruptible sleep? %w", dir, ctx.Err())
		case <-time.After(wait):
		}
	}
	target, err := l.numbers(ctx)
	if err != nil {
		return err
	}
	threads, err := h.threads(dir)
	if err != nil {
		return fmt.Errorf("freeze %s: %w", dir, err)
	}
	if n, found := foreign(threads, target); found {
		return fmt.Errorf("freeze %s: %w: task %d is in it and not in the target", dir, ErrNoCgroup, n)
	}
	for n, exited := range target {
		if !exited && !threads[n] {
			return fmt.Errorf("freeze %s: %w: task %d of the target is not in it", dir, ErrNoCgroup, n)
		}
	}
	return nil
}

// findCgroup is the outermost cgroup with nothing but tasks of the target in it.
func (l *Loader) findCgroup(ctx context.Context) (hierarchy, string, error) {
	all, err := hierarchies()
	if err != nil {
		return hierarchy{}, "", err
	}
	var reasons []error
	for _, h := range all {
		dir, err := l.ownCgroup(ctx, h)
		if err == nil {
			return h, dir, nil
		}
		if !errors.Is(err, ErrNoCgroup) {
			return hierarchy{}, "", err
		}
		reasons = append(reasons, err)
	}
	if len(reasons) == 0 {
		return hierarchy{}, "", fmt.Errorf("%w: neither cgroup v2 nor the v1 freezer is mounted", ErrNoCgroup)
	}
	return hierarchy{}, "", errors.Join(reasons...)
}

// ownCgroup is findCgroup in one hierarchy.
func (l *Loader) ownCgroup(ctx context.Context, h hierarchy) (string, error) {
	cgroup, ok, err := cgroupOf(l.pid, h)
	if err != nil {
		return "", fmt.Errorf("process %d: %w: %w", l.pid, ErrNoProcess, err)
	}
	dir, mounted := h.dir(cgroup)
	if !ok || !mounted {
		return "", fmt.Errorf("%v: %w: the target's is not mounted here", h, ErrNoCgroup)
	}
	own := ""
	for ; len(dir) > len(h.mount); dir = filepath.Dir(dir) {
		why, err := l.onlyTarget(ctx, h, dir)
		if err != nil {
			return "", err
		}
		if why == nil {
			own = dir
			continue
		}
		if own == "" {
			return "", why
		}
		break
	}
	if own == "" {
		return "", fmt.Errorf("%v: %w: the target is in its root", h, ErrNoCgroup)
	}
	return own, nil
}

// onlyTarget says what else is in the cgroup, nil if nothing is. Tasks come and
// go meanwhile: who is not known is looked for again.
func (l *Loader) onlyTarget(ctx context.Context, h hierarchy, dir string) (why, err error) {
	for range 5 {
		threads, err := h.threads(dir)
		if err != nil {
			return nil, noAccess("freeze "+dir, err)
		}
		target, err := l.numbers(ctx)
		if err != nil {
			return nil, err
		}
		n, found := foreign(threads, target)
		if !found {
			return nil, nil
		}
		why = fmt.Errorf("%v: %s: %w: task %d is in it and not in the target", h, dir, ErrNoCgroup, n)
	}
	return why, nil
}

func foreign(threads, target map[int]bool) (int, bool) {
	for n := range threads {
		if _, ok := target[n]; !ok {
			return n, true
		}
	}
	return 0, false
}

// numbers are the tasks of the target, by number in this process's own pid
// namespace, and whether each has exited.
func (l *Loader) numbers(ctx context.Context) (map[int]bool, error) {
	s, err := l.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	level := int(l.target.ReaderLevel)
	number := make(map[collector.ID]int, len(s.Pids))
	for i := range s.Pids {
		if p := &s.Pids[i]; level <= p.Level {
			number[p.ID] = int(p.Numbers[level])
		}
	}
	exited := make(map[int]bool, len(s.Tasks))
	for i := range s.Tasks {
		exited[number[s.Tasks[i].Pid]] = s.Tasks[i].ExitState != 0
	}
	return exited, nil
}
