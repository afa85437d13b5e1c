// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

const (
	cloneName  = "a bare loop of clone3 with set_tid and shared memory"
	nestedDeep = 8
)

func (b *bench) restoreRows() []row {
	shapes := []struct {
		name, words string
		grow        func(int) *forest.Forest
	}{
		{"flat", "children of the init", growFlat},
		{"chain", "each the child of the one before", growChain},
		{"random", "a random tree with sessions and groups", growRandom},
		{"nested", fmt.Sprintf("in namespaces %d deep", nestedDeep), func(n int) *forest.Forest { return growNested(n, nestedDeep) }},
	}
	var rows []row
	for _, s := range shapes {
		for _, n := range b.sizes.restores {
			rows = append(rows, row{fmt.Sprintf("restore/%s/%d", s.name, n), fmt.Sprintf("restore of %d tasks, %s", n+1, s.words), n,
				func(r *Row) error { return b.restoreShape(r, s.name == "flat", n, s.grow(n)) }})
		}
	}
	return rows
}

func (b *bench) restoreShape(r *Row, isFlat bool, n int, f *forest.Forest) (err error) {
	image, err := b.write("restore.img", f)
	if err != nil {
		return err
	}
	clones, err := b.compile("restore/testdata/floor.c")
	if err != nil {
		return err
	}
	forks, err := b.compile("internal/bench/peers/fork.c")
	if err != nil {
		return err
	}
	restore := func(flag string) func() (sample, error) {
		return func() (sample, error) {
			s, pid, err := b.restore(image, flag)
			if err != nil {
				return s, err
			}
			return s, end(pid)
		}
	}
	count := strconv.Itoa(n)
	all := []*contender{
		ours("pidgraft restore -d, verified by a dump", restore("--verify=true")),
		base("pidgraft restore -d --verify=false", restore("--verify=false")),
	}
	if isFlat {
		all = append(all,
			peer("criu restore", func() (sample, error) { return sample{}, b.criuRuns() }),
			peer("a bare loop of fork", func() (sample, error) { return noCPU(told(forks, count)) }))
	}
	all = append(all, floor(cloneName, func() (sample, error) { return noCPU(told(clones, count)) }))
	if err := b.race(r, all...); err != nil {
		return err
	}
	if isFlat && n == 10_000 {
		r.target(cloneName, 1.2)
	}
	// That of what is not verified, too.
	o, last := r.Entries[1], r.Entries[len(r.Entries)-1]
	if o.Time != nil && last.Time != nil {
		r.value("not verified, by the loop of clone3", o.Time.Median/last.Time.Median, "x", 0)
	}
	return nil
}

// noCPU forgets the processor's time, where it is that of a parent only.
func noCPU(s sample, err error) (sample, error) {
	s.cpu = 0
	return s, err
}

// criuRuns says why CRIU cannot restore here. Where it could, that is not yet
// measured either: what it restores it has to dump first, in a guest.
func (b *bench) criuRuns() error {
	if _, err := command("criu", "check"); err != nil {
		return fmt.Errorf("criu check: %w", lastLine(err))
	}
	return errors.New("criu check is content with this kernel, but no dump of it is measured")
}

// lastLine is where criu says what it is about.
func lastLine(err error) error {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return errors.New(lines[len(lines)-1])
}
