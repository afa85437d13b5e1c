// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/pidgraft/pidgraft/forest"
)

// few is a small container.
const few = 10

// depths are of nested namespaces.
var depths = []int{1, 2, 4, 8, 16, 31}

const (
	psName   = "ps -eLo pid,tgid,pgid,sid"
	iterName = "iter/task with an empty program, once over all tasks"
)

func (b *bench) dump(root int, flags ...string) (sample, error) {
	return command(b.pidgraft, append(append([]string{"dump", "-f", "-o", b.image}, flags...), strconv.Itoa(root))...)
}

func (b *bench) dumpOf(root int) *contender {
	return ours("pidgraft dump", func() (sample, error) { return b.dump(root) })
}

func ps() *contender {
	return peer(psName, func() (sample, error) { return command("ps", "-eLo", "pid,tgid,pgid,sid") })
}

// dumpRows: all tasks of a machine, nearly all of which are in one container.
func (b *bench) dumpRows() []row {
	var rows []row
	for _, n := range b.sizes.tasks {
		rows = append(rows, row{fmt.Sprintf("dump/%d", n), fmt.Sprintf("dump of %d tasks, nearly all of the machine's", n+1), n,
			func(r *Row) error { return b.dumpHost(r, n, true) }})
	}
	if n := b.sizes.objects; n > 0 && !slices.Contains(b.sizes.tasks, n) {
		rows = append(rows, row{fmt.Sprintf("dump/%d", n), fmt.Sprintf("dump of %d pid objects, all of them tasks", n+1), n,
			func(r *Row) error { return b.dumpHost(r, n, false) }})
	}
	return rows
}

func (b *bench) dumpHost(r *Row, n int, everyone bool) (err error) {
	f, err := flat(n)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Kill()) }()
	all := []*contender{b.dumpOf(f.Root()), ps()}
	if everyone {
		all = append(all,
			peer("lsns -t pid", func() (sample, error) { return command("lsns", "-t", "pid") }),
			peer("the NS lines of /proc, read in Go", func() (sample, error) { return own(nsLines) }),
			peer("prometheus/procfs", func() (sample, error) { return own(prometheus) }),
			peer("the 28 system calls a task of CRIU", func() (sample, error) {
				program, err := b.compile("internal/bench/peers/criu28.c")
				if err != nil {
					return sample{}, err
				}
				return told(program, strconv.Itoa(f.Root()))
			}))
	}
	all = append(all, floor(iterName, iterate))
	if err := b.race(r, all...); err != nil {
		return err
	}
	// Of smaller ones more is the fixed cost.
	if n >= 20_000 {
		r.target(psName, 1./15)
	}
	const fixed, timesFloor = 60, 2.5
	last := r.Entries[len(r.Entries)-1]
	if o := r.ours(); o.Time != nil && last.Time != nil {
		r.value(fmt.Sprintf("time, by %d ms + %v iterators", fixed, timesFloor), o.Time.Median, "ms", fixed+timesFloor*last.Time.Median)
	}
	if o := r.ours(); o.Memory != nil {
		most := 0.
		if n >= 100_000 {
			most = 100
		}
		r.value("resident at most", o.Memory.Median, "MiB", most)
	}
	return b.imageSize(r, n+1)
}

// imageSize adds the bytes a task of the image that was written last, and of
// the same compressed.
func (b *bench) imageSize(r *Row, tasks int) error {
	info, err := os.Stat(b.image)
	if err != nil {
		return err
	}
	r.value("image", float64(info.Size())/float64(tasks), "bytes a task", 64)
	return nil
}

// smallRows: what a small container costs beside many others.
func (b *bench) smallRows() []row {
	n := slices.Max(b.sizes.tasks)
	return []row{{"small", fmt.Sprintf("dump of a container of %d tasks beside %d others", few, n), few, func(r *Row) (err error) {
		f, err := flat(few - 1)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Kill()) }()
		err = b.race(r,
			ours("pidgraft dump", func() (s sample, err error) {
				others, err := flat(n)
				if err != nil {
					return s, err
				}
				s, err = b.dump(f.Root())
				return s, errors.Join(err, others.Kill())
			}),
			base("the same without the others", func() (sample, error) { return b.dump(f.Root()) }))
		if err == nil {
			r.value("what the others cost", r.Entries[0].Time.Median-r.Entries[1].Time.Median, "ms", 10)
		}
		return err
	}}}
}

// shapeRows: equally many tasks, in other shapes.
func (b *bench) shapeRows() []row {
	n := b.sizes.rest
	against := func(name string, f, other *forest.Forest, what string) func(*Row) error {
		return func(r *Row) error {
			return b.alive("base.img", other, func(base_ int) error {
				return b.alive("shape.img", f, func(root int) error {
					return b.race(r, b.dumpOf(root), base(what, func() (sample, error) { return b.dump(base_) }))
				})
			})
		}
	}
	var rows []row
	for _, d := range depths {
		rows = append(rows, row{fmt.Sprintf("dump/nested/%d", d), fmt.Sprintf("dump of %d tasks in namespaces %d deep", n+1, d), n,
			func(r *Row) error {
				return against("nested", growNested(n, d), growFlat(n), "as many in one namespace")(r)
			}})
	}
	return append(rows,
		row{"dump/threads", fmt.Sprintf("dump of one process of %d threads", n), n, func(r *Row) error {
			return against("threads", growThreads(n), growFlat(n), "as many processes")(r)
		}},
		row{"dump/ghosts", fmt.Sprintf("dump of %d tasks in sessions whose leaders are gone", n/2), n, func(r *Row) error {
			return against("ghosts", growGhosts(n/2), growFlat(n), "as many pid objects, all of them tasks")(r)
		}})
}
