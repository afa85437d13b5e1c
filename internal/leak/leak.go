// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/require"
)

// patience is how long what was left may take to go by itself.
const patience = 5 * time.Second

// Tests are the tests of a package, as *testing.M.
type Tests interface{ Run() int }

// Checked are tests that fail for what they leave behind. When they are over,
// atEnd is called first: it closes what is kept open for all tests on purpose.
func Checked(m Tests, atEnd ...func() error) Tests { return &checked{m, atEnd, patience} }

type checked struct {
	tests    Tests
	atEnd    []func() error
	patience time.Duration
}

// Run gives the exit status.
func (c *checked) Run() int {
	before, err := begin()
	if err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return 1
	}
	code := c.tests.Run()
	for _, f := range c.atEnd {
		err = errors.Join(err, f())
	}
	if err = errors.Join(err, before.check(c.patience)); err != nil {
		fmt.Fprintln(os.Stderr, "leak:", err)
		return max(code, 1)
	}
	return code
}

// state is what there is of each kind: by a key that stays the same as long as
// it is there, how to say it.
type state map[string]map[string]string

// kinds says how to see what there is. Those of the machine are for guests only.
var (
	ownKinds = map[string]func() (map[string]string, error){
		"descriptor":   descriptors,
		"mapped memfd": mappedMemfds,
		"child":        children,
	}
	machineKinds = map[string]func() (map[string]string, error){
		"process":       processes,
		"pid namespace": pidNamespaces,
		"BPF program":   bpfPrograms,
		"BPF map":       bpfMaps,
		"BPF link":      bpfLinks,
		"mount":         mounts,
		"cgroup":        cgroups,
	}
)

func begin() (state, error) {
	// The runtime keeps an epoll and an event descriptor from the first
	// pollable file on: let it have them now.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become a subreaper: %w", err)
	}
	return look()
}

func look() (state, error) {
	s := state{}
	kinds := maps.Clone(ownKinds)
	if require.InGuest() {
		maps.Copy(kinds, machineKinds)
	}
	for kind, see := range kinds {
		found, err := see()
		if err != nil {
			return nil, fmt.Errorf("look for each %s: %w", kind, err)
		}
		s[kind] = found
	}
	return s, nil
}

// check says what there is that was not there before, after it had time to go.
func (before state) check(patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		reap()
		after, err := look()
		if err != nil {
			return err
		}
		left := before.added(after)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			for pid := range after["child"] {
				if _, old := before["child"][pid]; !old {
					kill(pid)
				}
			}
			return errors.New("left behind by the tests:\n\t" + strings.Join(left, "\n\t"))
		}
	}
}

// added says what after has that before has not, sorted.
func (before state) added(after state) []string {
	var left []string
	for kind, found := range after {
		for key, what := range found {
			if _, old := before[kind][key]; !old {
				left = append(left, strings.TrimSpace(kind+" "+key+" "+what))
			}
		}
	}
	slices.Sort(left)
	return left
}

// reap takes who has ended, as elsewhere process 1 does.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
		if err != unix.EINTR && pid <= 0 {
			return
		}
	}
}
