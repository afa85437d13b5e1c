// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pidgraft/pidgraft/forest"
)

// The stages come in their order, and when all are in place the count says so.
func TestProgress(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		var stages []Stage
		p := &Progress{}
		p.Stage = func(s Stage) { stages = append(stages, s) }
		opts.Progress = p
		var then Standing
		opts.Verify = func(context.Context, int) error { then = p.Now(true); return nil }
		opts.Detach = true
		s := flat(t, 20)
		result, err := Run(context.Background(), s.forest, s.finished(), opts)
		if err != nil {
			t.Fatal(err)
		}
		defer killRoot(t, result.PID)
		if want := []Stage{StageBegin, StageMake, StageEnd, StageVerify, StageCommit, StageLive}; !slices.Equal(stages, want) {
			t.Errorf("stages %q, want %q", stages, want)
		}
		if then.Holds != 21 || then.Held != then.Holds || len(then.Waiting) > 0 {
			t.Errorf("before the commit: %+v", then)
		}
		if now := p.Now(true); now.Holds != 0 {
			t.Errorf("when it is over: %+v", now)
		}
	})
}

// Of a restore that stands still it is known who waits for what, while it does.
func TestProgressWaiting(t *testing.T) {
	eachMemory(t, func(t *testing.T, opts Options) {
		opts.Stall = time.Second
		p := &Progress{}
		opts.Progress = p
		s, want := stuck(t)
		missing := func(is string) []string {
			return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains(is, w) })
		}
		seen := make(chan string, 1)
		p.Stage = func(s Stage) {
			if s != StageMake {
				return
			}
			go func() {
				// Until all have come to where they stay.
				var is string
				for range 100 {
					if is = strings.Join(p.Now(true).Waiting, "\n"); len(missing(is)) == 0 {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				seen <- is
			}()
		}
		s.withTasks(map[string]forest.Task{"a": {}, "b": {}}, map[string][]int32{"a": {7}, "b": {8}})
		s.fails(context.Background(), opts, "stopped making progress")
		is := <-seen
		for _, w := range missing(is) {
			t.Errorf("missing %q in:\n%s", w, is)
		}
	})
}
