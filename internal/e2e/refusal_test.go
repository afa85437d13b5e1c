// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// odd are legal forests that ask more of a restore than the samples do.
var odd = []testforest.Sample{
	{Name: "entrant", Script: `
		outside fork init newpid
		outside fork x
		x setns init pid
		x fork e
		e fork f`},
	{Name: "entrant-left", Script: `
		outside fork init newpid
		outside fork x
		x setns init pid
		x fork e
		e fork f
		f setsid
		e exit 0
		x reap e`},
	{Name: "sandbox-in-sandbox", Script: `
		outside fork init newpid
		init fork u newuser newpid
		host maps u uid 0 0 65536
		host maps u gid 0 0 65536
		u fork a
		a fork v newuser newpid
		u maps v uid 0 0 65536
		u maps v gid 0 0 65536
		v fork b`},
	{Name: "group-cycle", Script: `
		outside fork init newpid
		init setsid
		init fork a
		init fork b
		a setpgid self self
		b setpgid self self
		init fork c
		init setpgid c a
		init setpgid a b
		init setpgid b a`},
	{Name: "moved-leaders", Script: `
		outside fork init newpid
		init setsid
		init fork a
		init fork b
		init fork c
		init setpgid a a
		init setpgid b a
		init setpgid c c
		init setpgid a c`},
	{Name: "group-led-from-deeper", Script: `
		outside fork init newpid
		init setsid
		init fork p
		p fork n newpid
		n fork a
		p setpgid n n
		p setpgid self n`},
	{Name: "nested-subreapers", Script: `
		outside fork init newpid
		init fork a
		a subreaper 1
		a fork b
		b setsid
		b subreaper 1
		b fork c
		c setsid
		c fork d
		d fork e
		c exit 0
		b reap c
		d exit 4`},
	{Name: "session-with-members-on-two-paths", Script: `
		outside fork init newpid
		init fork l
		l setsid
		l fork p
		l fork q
		p setpgid self self
		p fork m
		q fork n
		m setsid
		m fork k
		l exit 0
		init reap l`},
	{Name: "sideways", Script: `
		outside fork init newpid
		init fork s1
		s1 setsid
		s1 fork i3 newpid
		init fork s2
		s2 setsid
		s2 fork i2 newpid
		s1 fork w
		w setns i2 pid`},
	{Name: "children-of-late-threads", Script: `
		outside fork init newpid
		init fork a
		a thread t1
		a thread t2
		a thread t3
		t3 fork b
		t2 fork c
		t1 exit-thread 0
		t3 fork d`},
	{Name: "dead-leader-of-session", Script: `
		outside fork init newpid
		init fork a
		a setsid
		a thread t
		t fork b
		a exit-thread 9
		t fork c`},
	{Name: "clone-parent-exit-signal", Script: `
		outside fork init newpid
		init fork p
		p fork l sig=USR2
		l setsid
		l fork t parent
		l exec`},
	{Name: "stopped-in-orphaned-group", Script: `
		outside fork init newpid
		init setsid
		init fork a
		a setsid
		a fork b
		host kill b STOP
		a fork c
		host kill c TSTP`},
	{Name: "exiting-init", Script: `
		outside fork init newpid
		init fork m
		m fork n newpid
		m fork x
		x setns n pid
		x fork e
		host kill n KILL`},
	{Name: "session-of-orphan-at-subreaper", Script: `
		outside fork init newpid
		init fork a
		a fork early
		a setsid
		a subreaper 1
		a fork l
		l setsid
		l fork t
		l exit 0
		a reap l`},
	{Name: "dead-namespace-in-use", Script: `
		outside fork init newpid
		init setsid
		init fork p
		p fork n newpid
		n fork a
		a setpgid self self
		p setpgid self a
		a exit 0
		n reap a`},
	{Name: "empty-namespace", Script: `
		outside fork init newpid
		init fork a
		a unshare pid
		init fork b`},
	{Name: "zombie-of-user", Script: `
		outside fork init newpid
		init fork a
		a setgid 100
		a setuid 1000
		a exit 3`},
	{Name: "zombie-of-owner", Script: `
		outside fork init newpid
		init fork a
		a setids 0 1000 0 100
		a fork n newuser newpid
		host maps n uid 0 0 65536
		host maps n gid 0 0 65536
		n exit 3`},
	{Name: "zombie-saved-uid", Script: `
		outside fork init newpid
		init fork a
		a setresuid 0 0 1000
		a exit 3`},
	{Name: "zombie-ids", Script: `
		outside fork init newpid
		init fork saved
		saved setresgid 100 200 300
		saved setresuid 1000 2000 3000
		saved exit 3
		init fork root-saved
		root-saved setresuid 1000 2000 0
		root-saved exit 3
		init fork fs
		fs setfsgid 400
		fs setfsuid 4000
		fs exit 3
		init fork fs-saved
		fs-saved setresuid 1000 2000 3000
		fs-saved setfsuid 3000
		fs-saved exit 3
		init fork back
		back setresuid 1000 2000 0
		back setresuid 1000 0 0
		back setfsuid 1000
		back exit 3
		init fork dead
		dead thread t
		dead setresgid 7 0 9
		dead setresuid 5 0 6
		dead setfsuid 8
		dead exit-thread 0`},
	{Name: "zombie-ids-inside", Script: `
		outside fork init newpid
		init fork n newuser newpid
		init maps n uid 0 100000 65536
		init maps n gid 0 100000 65536
		n fork a
		a setresgid 1 2 3
		a setresuid 4 5 6
		a exit 3
		n fork b
		b setfsgid 7
		b setfsuid 8
		b exit 3
		init fork m newuser newpid
		init maps m uid 0 100000 65536
		init maps m gid 0 100000 65536
		m setresuid 0 9 0
		m setfsuid 10
		m exit 0`},
	{Name: "zombie-fsuid-of-none", Script: `
		outside fork init newpid
		init fork a
		a setresgid 1 2 3
		a setresuid 5 6 7
		a unshare user
		host maps a uid 0 0 65536
		host maps a gid 0 0 65536
		a setfsgid 4
		a setfsuid 8
		a exit 3`},
	{Name: "zombie-of-owner-saved", Script: `
		outside fork init newpid
		init fork a
		a setresgid 0 100 200
		a setresuid 0 1000 2000
		a fork n newuser newpid
		host maps n uid 0 0 65536
		host maps n gid 0 0 65536
		n exit 3`},
	{Name: "attributes", Script: `
		outside fork init newpid
		init fork a
		a subreaper 1
		a pdeath 15
		a thread t
		t pdeath 10
		init fork n newpid
		n last-pid 500`},
	{Name: "subtree-hole", Subtree: true, Script: `
		outside fork n newpid
		outside fork top
		host target top
		top setns n pid
		top fork a
		a fork m newpid parent
		a exit 0
		top reap a
		m fork b`},
}

// TestExactOrRefused: whatever a forest is like, it comes back exactly or is
// refused with the reason, and then no image is left.
func TestExactOrRefused(t *testing.T) {
	require.Root(t)
	refused := 0
	for n, s := range odd {
		t.Run(s.Name, func(t *testing.T) {
			forest := testforest.Start(t, s.Script)
			image := filepath.Join(t.TempDir(), "forest.img")
			before := testimony(t, forest.Root())
			switch o := command(t, "dump", "-o", image, strconv.Itoa(forest.Root())); o.code {
			case 0:
				after := testimony(t, restored(t, image, ways(n)[0]...))
				expectSame(t, "what was restored is not the same", before, after, unkept...)
			case 5:
				refused++
				t.Log(o.stderr)
				t.Error("it was refused, and can be rebuilt")
				if lines := strings.Split(strings.TrimSpace(o.stderr), "\n"); len(lines) < 2 {
					t.Errorf("it was refused without a reason and what to do: %q", o.stderr)
				}
				if _, err := os.Stat(image); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("it was refused, but there is an image: %v", err)
				}
			default:
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
			expectSame(t, "the target changed", before, testimony(t, forest.Root()))
		})
	}
	t.Logf("%d of %d came back exactly, %d were refused", len(odd)-refused, len(odd), refused)
}
