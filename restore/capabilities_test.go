// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/plan"
)

// needy are plans, each of which takes another set of capabilities.
var needy = map[string]func(*script){
	"flat": func(s *script) {
		s.clone("init", "a", 0, 7)
		s.do("a", plan.Op{Code: plan.Setsid})
		s.hold("init", "a")
	},
	"holder": func(s *script) {
		s.plan.Root = int(s.actor("a"))
		s.clone("init", "a", plan.Pidfd, 7)
		s.hold("a")
		s.do("init", plan.Op{Code: plan.Serve})
	},
	"join": func(s *script) {
		s.clone("init", "n", plan.NewPID|plan.Pidfd, 1, 10)
		s.do("init", plan.Op{Code: plan.JoinPID, Via: s.actor("n")})
		s.clone("init", "e", 0, 2, 20)
		s.hold("n", "e")
		s.do("init", plan.Op{Code: plan.JoinPID, Via: plan.Init})
		s.hold("init")
	},
	"join before it keeps": func(s *script) {
		s.clone("init", "n", plan.NewPID|plan.Pidfd, 1, 10)
		joined := s.do("init", plan.Op{Code: plan.JoinPID, Via: s.actor("n")})
		s.do("n", plan.Op{Code: plan.Keep}, joined)
		s.clone("init", "e", 0, 2, 20)
		s.hold("n", "e")
		s.do("init", plan.Op{Code: plan.JoinPID, Via: plan.Init})
		s.hold("init")
	},
	"kept": func(s *script) {
		sandbox(s, 0)
		kept := s.do("u", plan.Op{Code: plan.Keep})
		s.clone("init", "v", 0, 20)
		s.do("v", plan.Op{Code: plan.JoinUser, Via: s.actor("u")}, kept)
		s.hold("v", "u", "init")
	},
	"rebooted init": func(s *script) {
		s.clone("init", "n", plan.NewPID, 1, 10)
		s.do("n", plan.Op{Code: plan.SetIDs, UID: 1000, EUID: 1000, Number: 1})
		s.do("n", plan.Op{Code: plan.Die, Signal: 1})
		s.await("init", "n", 10)
		s.hold("init")
	},
	"sandbox of many": func(s *script) { sandbox(s, 0); s.forest.UserNamespaces[1].UIDMap[0].Count = 100; s.hold("u", "init") },
	"nested sandbox": func(s *script) {
		sandbox(s, 1000)
		s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{Parent: 1, OwnerUID: 1000,
			OwnerGID: 1000, UIDMap: []forest.Extent{{Count: 1}}, GIDMap: []forest.Extent{{Count: 1}}})
		mapped := plan.Ref{Actor: plan.Restorer}
		s.clone("init", "v", plan.Pidfd, 20)
		s.do("v", plan.Op{Code: plan.JoinUser, Via: s.actor("u")}, mapped)
		s.do("v", plan.Op{Code: plan.SetIDs})
		unshared := s.do("v", plan.Op{Code: plan.UnshareUser})
		s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 2, Child: s.actor("v")}, unshared)
		s.hold("v", "u", "init")
	},
	"sandbox":           func(s *script) { sandbox(s, 0); s.hold("u", "init") },
	"sandbox of a user": func(s *script) { sandbox(s, 1000); s.hold("u", "init") },
	"zombie of a user": func(s *script) {
		s.clone("init", "z", 0, 7)
		s.do("z", plan.Op{Code: plan.SetIDs, UID: 1000, EUID: 1000, GID: 1000, EGID: 1000})
		s.exit("z", 0)
		s.await("init", "z", 7)
		s.hold("init")
	},
	"killed init of a user": func(s *script) {
		s.clone("init", "n", plan.NewPID, 1, 10)
		changed := s.do("n", plan.Op{Code: plan.SetIDs, UID: 1000, EUID: 1000, GID: 1000, EGID: 1000})
		s.do("n", plan.Op{Code: plan.Perish})
		s.do("init", plan.Op{Code: plan.Kill, Child: s.actor("n"), Pid: 10, Signal: 9}, changed)
		s.await("init", "n", 10)
		s.hold("init")
	},
}

// sandbox is a pid namespace in a user namespace of user id, which is 0 there.
func sandbox(s *script, id uint32) {
	one := []forest.Extent{{Parent: id, Count: 1}}
	s.forest.UserNamespaces = append(s.forest.UserNamespaces, forest.UserNamespace{
		OwnerUID: id, OwnerGID: id, UIDMap: one, GIDMap: one})
	born := s.do("init", plan.Op{Code: plan.Clone, Child: s.actor("u"), Flags: plan.NewPID | plan.NewUser | plan.Pidfd,
		Numbers: []int32{1, 10}, Signal: forest.SIGCHLD, UID: id, GID: id})
	s.do("restorer", plan.Op{Code: plan.WriteMaps, Number: 1, Child: s.actor("u")}, born)
}

const needyVariable = "PIDGRAFT_TEST_NEEDY"

// playNeeds prints what a plan needs, or carries it out without a look at what
// is there, up to the commit.
func playNeeds(role string) int {
	s := newScript(nil)
	needy[os.Getenv(needyVariable)](s)
	opts := Options{Detach: true, Stderr: os.Stderr}
	if role == "needs" {
		for _, n := range needs(s.forest, s.finished(), opts) {
			fmt.Println(n.capability)
		}
		return 0
	}
	opts.Verify = func(context.Context, int) error {
		if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || n != 1 {
			return fmt.Errorf("this process is not dumpable (%d, %w)", n, err)
		}
		return errSeen
	}
	if _, err := carryOut(context.Background(), s.forest, s.finished(), opts); !errors.Is(err, errSeen) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// asUser runs a role as a user with some capabilities and no more, also not in
// what it runs.
func asUser(t *testing.T, uid, role, name string, capabilities []string) (string, error) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	set := "-all"
	for _, c := range capabilities {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	cmd := exec.Command("setpriv", "--reuid="+uid, "--regid="+uid, "--clear-groups",
		"--inh-caps="+set, "--ambient-caps="+set, "--bounding-set="+set, "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self} // the user may not see the directory it is in
	cmd.Env = append(os.Environ(), roleVariable+"="+role, needyVariable+"="+name)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said.String())
	}
	return string(out), err
}

// What is asked for before a restore is what the kernel asks for: with exactly
// that it succeeds, and without any one of it, unasked, it fails.
func TestNeeds(t *testing.T) {
	requireRoot(t)
	n := 0
	for _, uid := range []string{"0", "12345"} {
		for _, name := range slices.Sorted(maps.Keys(needy)) {
			n++
			t.Run(uid+" "+name, func(t *testing.T) {
				out, err := asUser(t, uid, "needs", name, nil)
				if err != nil {
					t.Fatal(err)
				}
				all := strings.Fields(out)
				t.Log(all)
				if _, err := asUser(t, uid, "bare", name, all); err != nil {
					t.Errorf("with all of it: %v", err)
				}
				for i, c := range all {
					// With -short each case is without one only, another in each.
					if testing.Short() && i != n%len(all) {
						continue
					}
					if c == "CAP_SETFCAP" && !mapOfRootIsGuarded(t) {
						continue
					}
					rest := slices.Delete(slices.Clone(all), i, i+1)
					if _, err := asUser(t, uid, "bare", name, rest); err == nil {
						t.Errorf("it is as well without %s", c)
					}
				}
			})
		}
	}
	nothingLeft(t)
}

// mapOfRootIsGuarded: from 5.12 on.
func mapOfRootIsGuarded(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	var major, minor int
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 5 || major == 5 && minor >= 12
}
