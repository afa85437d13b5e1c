// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/audit/listing"
	"github.com/pidgraft/pidgraft/audit/state"
	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
	"github.com/pidgraft/pidgraft/internal/witness"
)

// TestPSIsWhatProcSays: of forests of every kind, ps lists what /proc shows and
// the ghosts that it does not, and map translates the init's number as NSpid does.
func TestPSIsWhatProcSays(t *testing.T) {
	require.Root(t)
	for i, s := range testforest.Samples() {
		// TestScripts/ps has one of everything, too.
		if s.Subtree || testing.Short() && i%8 != 0 {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			root := testforest.Start(t, s.Script).Root()
			want, err := witness.Read(root)
			if err != nil {
				t.Fatal(err)
			}
			all, err := lookAtObjects(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			inode, err := inodeOf(fmt.Sprintf("/proc/%d/ns/pid", root))
			if err != nil {
				t.Fatal(err)
			}
			init, err := all.find(numberIn{1, inode})
			if err != nil {
				t.Fatal(err)
			}
			rows := listing.Rows(all.State, all.names.Of, func(o *state.Object) bool { return within(o, init.Namespace) })
			level := init.Namespace.Level
			// The witness counts from the forest's root namespace inwards.
			inner := func(numbers []int32) string {
				if len(numbers) <= level {
					return ""
				}
				parts := make([]string, 0, len(numbers)-level)
				for _, n := range numbers[level:] {
					parts = append(parts, strconv.Itoa(int(n)))
				}
				return strings.Join(parts, "/")
			}
			left := map[witness.Key]bool{}
			for _, k := range want.Keys() {
				left[k] = true
			}
			for _, r := range rows {
				key := witness.Key(inner(r.Numbers))
				if r.Uses.PID == 0 {
					if left[key] {
						t.Errorf("%s is a %s, and /proc shows its task", key, r.State)
					}
					continue
				}
				task, ok := want.Tasks[key]
				if !ok {
					t.Errorf("%s (%s, %s): /proc does not show it", key, *r.Comm, r.State)
					continue
				}
				delete(left, key)
				if is := inner(r.Process); is != task[witness.Process] {
					t.Errorf("%s: process %s, in /proc %s", key, is, task[witness.Process])
				}
				if zombie := task[witness.State] == "zombie"; zombie != (r.State == listing.Zombie) {
					t.Errorf("%s: %s, in /proc %s", key, r.State, task[witness.State])
				}
			}
			if len(left) > 0 {
				t.Errorf("/proc shows also %v", left)
			}
			var is []string
			for _, l := range listing.Maps([]*state.Object{init}, all.names.Of, uint32(all.own))[0].Levels {
				if len(is) > 0 || l.Own {
					is = append(is, fmt.Sprint(l.Number))
				}
			}
			if want := nspid(root); !slices.Equal(is, want) {
				t.Errorf("map: %v, NSpid is %v", is, want)
			}
		})
	}
}
