// SPDX-License-Identifier: Apache-2.0

package alone

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Batches are many random cases of a property test (pgregory.net/rapid), some
// at a time in a namespace of their own: what one batch leaves does not slow the
// next, and a failure ends a batch, not the run.
type Batches struct {
	Test    string // its name
	N       int    // cases
	Size    int    // of a batch, at most
	Workers int    // batches at one time
	Seed    uint64
	For     time.Duration // no batch begins later; 0: all are made
	Args    []string      // more, for the programs
}

// most is after how many failures no batch begins any more.
const most = 5

// between is the time between two lines that say how far it is.
const between = 30 * time.Second

// RunBatches runs b. Each batch Reports a T, which starts as fresh has it and is
// given to add, with one call at a time. It logs what b and total say now and
// then, and reports whether all cases were made: if not, time was over or there
// were failures.
func RunBatches[T any](t testing.TB, b Batches, fresh func() T, add func(T), total fmt.Stringer) bool {
	t.Helper()
	var lock sync.Mutex
	var group sync.WaitGroup
	begun, failed, batch := 0, 0, uint64(0)
	start := time.Now()
	said := start
	size := max(1, min(b.Size, (b.N+b.Workers-1)/max(1, b.Workers)))
	next := func() (n int, seed uint64) {
		lock.Lock()
		defer lock.Unlock()
		if begun >= b.N || failed == most || b.For > 0 && time.Since(start) > b.For {
			return 0, 0
		}
		n = min(size, b.N-begun)
		begun, batch = begun+n, batch+1
		return n, b.Seed<<32 + batch<<16 // each case adds one
	}
	for range b.Workers {
		group.Go(func() {
			for n, seed := next(); n > 0; n, seed = next() {
				got := fresh()
				log, err := Run(b.Test, &got, append([]string{
					"-test.short=false", // with it rapid makes a fifth of the cases
					fmt.Sprintf("-rapid.checks=%d", n), fmt.Sprintf("-rapid.seed=%d", seed), "-rapid.nofailfile",
				}, b.Args...)...)
				lock.Lock()
				if err != nil {
					failed++
					t.Errorf("%d cases from rapid.seed %d on: %v\n%s", n, seed, err, log)
				}
				add(got)
				if time.Since(said) > between {
					said = time.Now()
					t.Logf("seed %d, after %v: %d of %d begun: %v", b.Seed, time.Since(start).Round(time.Second), begun, b.N, total)
				}
				lock.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("seed %d, %v: %v", b.Seed, time.Since(start).Round(time.Second), total)
	return begun == b.N && failed == 0
}
