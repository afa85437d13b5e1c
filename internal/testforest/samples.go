// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"fmt"
	"strings"
)

// Sample is a kind of forest.
type Sample struct {
	Name   string
	Script string
	// Subtree says that the target is not the init of a namespace.
	Subtree bool
}

// Samples has one forest of every kind that a dump and a restore must carry,
// each as small as shows the kind.
func Samples() []Sample {
	return append([]Sample{
		{Name: "lone-init", Script: `
			outside fork init newpid`},
		{Name: "flat", Script: `
			outside fork init newpid
			init fork a
			init fork b
			init fork c
			b fork d`},
		{Name: "shared-memory", Script: `
			outside fork init newpid
			init fork a vm
			a fork b vm
			a fork c
			b setsid`},
		{Name: "gaps-in-numbers", Script: `
			outside fork init newpid
			init fork a num=7
			init fork b num=299
			a fork c num=30000
			init fork d num=2`},
		{Name: "order-of-siblings", Script: `
			outside fork init newpid
			init fork a num=9
			init fork b num=5
			init fork c num=7
			init fork d num=3`},

		{Name: "threads", Script: `
			outside fork init newpid
			init setsid
			init thread i2
			init fork a
			a thread a2
			a thread a3
			a fork b
			b thread b2 num=100`},
		{Name: "child-of-thread", Script: `
			outside fork init newpid
			init fork a
			a thread a2
			a fork b
			a2 fork c
			a2 fork d`},
		{Name: "dead-leader-of-init", Script: `
			outside fork init newpid
			init thread i2
			init thread i3
			init fork a
			init exit-thread 5`},
		{Name: "dead-leader", Script: `
			outside fork init newpid
			init fork a
			a thread a2
			a exit-thread 3`},

		{Name: "session-before-setsid", Script: `
			outside fork init newpid
			init setsid
			init fork a
			a fork b
			a setsid`},
		{Name: "session-after-setsid", Script: `
			outside fork init newpid
			init setsid
			init fork a
			a setsid
			a fork b
			b fork c`},
		{Name: "session-both", Script: `
			outside fork init newpid
			init fork a
			a fork early
			a setsid
			a fork late
			late fork l2
			l2 setsid
			early fork e2`},
		{Name: "groups", Script: `
			outside fork init newpid
			init setsid
			init fork a
			init fork b
			init fork c
			a setpgid self self
			init setpgid b a
			c setpgid self self`},
		{Name: "job-control", Script: shell},
		{Name: "daemons", Script: `
			outside fork init newpid
			init fork start1
			start1 setsid
			start1 fork daemon1
			start1 exit 0
			init reap start1
			init fork start2
			start2 setsid
			start2 fork daemon2
			daemon2 thread worker
			daemon2 fork child
			start2 exit 0
			init reap start2`},

		{Name: "zombies-by-exit", Script: exits(0, 1, 2, 3, 42, 127, 128, 170, 255)},
		{Name: "zombies-by-signal", Script: kills("HUP", "INT", "ABRT", "KILL", "USR1", "SEGV", "TERM", "SYS", "34", "64")},
		{Name: "zombie-session-leader", Script: `
			outside fork init newpid
			init fork a
			a setsid
			a fork b
			a exit 5`},
		{Name: "zombie-group-leader", Script: `
			outside fork init newpid
			init setsid
			init fork a
			a setpgid self self
			a fork b
			b fork c
			a exit 6`},
		{Name: "zombie-of-nested-init", Script: `
			outside fork init newpid
			init fork n newpid
			n fork a
			a exit 7
			n fork b
			host kill b KILL`},
		{Name: "zombie-orphan", Script: `
			outside fork init newpid
			init fork a
			a fork b
			b exit 8
			a exit 0
			init reap a`},

		{Name: "ghost-group", Script: `
			outside fork init newpid
			init setsid
			init fork a
			a setpgid self self
			a fork b
			a exit 0
			init reap a`},
		{Name: "ghost-session", Script: `
			outside fork init newpid
			init fork a
			a setsid
			a fork b
			a fork c
			a exit 0
			init reap a`},
		{Name: "ghosts-nested", Script: `
			outside fork init newpid
			init fork n newpid
			n fork a
			a setsid
			a fork b
			b setpgid self self
			b fork c
			b exit 0
			a reap b
			a exit 0
			n reap a`},
		{Name: "ghost-session-and-group", Script: `
			outside fork init newpid
			init fork a
			a setsid
			a fork b
			b setpgid self self
			b fork c
			c fork d
			a fork e
			b exit 0
			a reap b
			a exit 0
			init reap a`},

		{Name: "orphans-to-init", Script: `
			outside fork init newpid
			init setsid
			init fork a
			a setsid
			a fork b
			b fork c
			c fork d
			b exit 0
			a reap b`},
		{Name: "orphans-to-nested-init", Script: `
			outside fork init newpid
			init fork n newpid
			n fork a
			a fork b
			b fork c
			a exit 0
			n reap a
			b exit 0
			n reap b`},
		{Name: "orphans-to-subreaper", Script: `
			outside fork init newpid
			init fork a
			a subreaper 1
			a fork b
			b fork c
			b exit 0
			a reap b`},

		{Name: "chain", Script: `
			outside fork init newpid
			init setsid
			init fork a newpid
			a fork x
			a fork b newpid
			b fork y
			b setsid
			b fork c newpid
			c fork z`},
		{Name: "tree", Script: `
			outside fork init newpid
			init fork n1 newpid
			init fork n2 newpid
			n1 fork n11 newpid
			n1 fork n12 newpid
			n2 fork n21 newpid
			n11 fork a
			a setsid
			n12 fork b
			b fork c
			n21 fork d
			d setpgid self self
			n2 fork e`},
		{Name: "deepest-chain", Script: deepest()},
		{Name: "group-from-outside", Script: `
			outside fork init newpid
			init setsid
			init fork job
			job setpgid self self
			job fork n newpid
			n fork a
			a fork b
			b setsid`},
		{Name: "inherited-session-in-nested", Script: `
			outside fork init newpid
			init fork n newpid
			n fork a
			n fork b
			b setpgid self self`},

		{Name: "owned-by-nested-user", Script: `
			outside fork init newpid
			init setsid
			init fork u newuser newpid
			host maps u uid 0 1000 1
			host setgroups u deny
			host maps u gid 0 1000 1`},
		{Name: "sandbox", Script: `
			outside fork init newpid
			init setsid
			init fork u newuser newpid
			host maps u uid 0 0 65536
			host maps u gid 0 0 65536
			u fork a
			a fork b`},
		{Name: "sandbox-with-session", Script: `
			outside fork init newpid
			init fork u newuser newpid
			host maps u uid 0 0 65536
			host maps u gid 0 0 65536
			u setsid
			u fork a
			a setsid
			a fork b`},
		{Name: "unshared-for-children", Script: `
			outside fork init newpid
			init fork a
			a unshare pid
			a fork n
			n fork b`},
		{Name: "left-dead-namespace", Script: `
			outside fork init newpid
			init fork a
			a unshare pid
			a fork n
			n exit 0
			a reap n`},
		{Name: "stopped", Script: `
			outside fork init newpid
			init setsid
			init fork a
			init fork b
			host kill a STOP
			host kill b STOP
			init wait-stop b`},
		{Name: "exit-signals", Script: `
			outside fork init newpid
			init fork a sig=0
			init fork b sig=USR1
			init fork c sig=64`},
	}, subtrees...)
}

var subtrees = []Sample{
	{Name: "subtree-of-shell", Subtree: true, Script: `
		outside fork top
		host target top
		top setsid
		top fork a
		a setpgid self self
		top fork b
		top setpgid b a
		b fork c`},
	// The root left its first group, which its session's leader leads.
	{Name: "subtree-in-inherited-group", Subtree: true, Script: `
		outside setsid
		outside fork top
		host target top
		top fork a
		top setpgid self self
		top fork b`},
	{Name: "subtree-in-foreign-session", Subtree: true, Script: `
		outside fork top
		host target top
		top fork a
		a setpgid self self
		top fork b
		b fork c
		c setsid`},
	{Name: "subtree-with-namespace", Subtree: true, Script: `
		outside fork top
		host target top
		top setsid
		top fork n newpid
		n fork a
		a fork b
		a exit 3`},
	// Namespaces whose inits are not in the subtree: siblings of its root.
	{Name: "subtree-beside-namespace", Subtree: true, Script: `
		outside fork top
		host target top
		top unshare pid
		top fork n parent
		top fork a
		top fork b`},
	{Name: "subtree-init-outside-leads-group", Subtree: true, Script: `
		outside setsid
		outside fork top
		host target top
		top setsid
		top fork a
		top fork b
		a fork n newpid
		a setpgid n self
		b setpgid self self
		a exit 0
		top reap a
		b setpgid self n`},
	{Name: "subtree-init-waits-for-outside", Subtree: true, Script: `
		outside fork top
		host target top
		top fork n newpid
		top setns n pid
		top fork e parent
		top setns top pid
		e exit 3
		n exit 4`},
	{Name: "subtree-with-orphans", Subtree: true, Script: `
		outside fork top
		host target top
		top setsid
		top subreaper 1
		top fork a
		a setsid
		a fork b
		a exit 0
		top reap a`},
}

// shell is an interactive shell with two pipelines in the background and one
// in the foreground, as job control makes them.
const shell = `
	outside fork init newpid
	init fork sh
	sh setsid
	sh fork j1
	j1 setpgid self self
	sh fork j1b
	sh setpgid j1b j1
	sh fork j1c
	sh setpgid j1c j1
	j1 exit 0
	sh fork j2
	sh setpgid j2 j2
	sh fork j2b
	sh setpgid j2b j2
	j2 exit 1
	sh reap j2
	sh fork fg
	fg setpgid self self
	fg fork fg1`

func exits(codes ...int) string {
	var b strings.Builder
	b.WriteString("outside fork init newpid\n")
	for _, c := range codes {
		fmt.Fprintf(&b, "init fork e%d\ne%d exit %d\n", c, c, c)
	}
	return b.String()
}

func kills(signals ...string) string {
	var b strings.Builder
	b.WriteString("outside fork init newpid\n")
	for _, s := range signals {
		fmt.Fprintf(&b, "init fork k%s\nhost kill k%s %s\n", s, s, s)
	}
	return b.String()
}

// deepest is a chain of namespaces down to the kernel's limit of 32 levels
// below the initial namespace; where the test is deeper, so many fewer.
// Level 32 is left free: restore makes one level of its own.
func deepest() string {
	var b strings.Builder
	b.WriteString("outside fork init newpid\ninit fork n2 newpid\n")
	for level := 3; level <= 31; level++ {
		fmt.Fprintf(&b, "n%d fork n%d newpid\n", level-1, level)
	}
	b.WriteString("n31 fork leaf\nn31 fork other\nother setsid\n")
	return b.String()
}
