// SPDX-License-Identifier: Apache-2.0

package forest_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// A renumbered forest is one, no number of it is taken, and whoever was before
// another in a namespace still is. What is no number is the same.
func TestRenumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		if forest.Validate(f) != nil {
			t.Skip("not a forest")
		}
		step := rapid.Int32Range(1, 5).Draw(t, "step")
		taken := func(ns int, n int32) bool { return n%step != int32(ns)%step }
		g, err := forest.Renumber(f, 0, taken)
		if err != nil {
			t.Fatal(err)
		}
		if err := forest.Validate(g); err != nil {
			t.Fatalf("renumbered: %v", err)
		}
		for i := range f.Pids {
			ns := f.Pids[i].Namespace
			for level := len(f.Pids[i].Numbers) - 1; level >= 0; level-- {
				was, is := f.Pids[i].Numbers[level], g.Pids[i].Numbers[level]
				if (was == 1) != (is == 1) || is != 1 && taken(ns, is) {
					t.Fatalf("number %d in namespace %d became %d", was, ns, is)
				}
				for j := range f.Pids {
					if a, b := f.NumberIn(forest.Tag(j+1), ns), g.NumberIn(forest.Tag(j+1), ns); a > was && b <= is {
						t.Fatalf("%d and %d in namespace %d became %d and %d", was, a, ns, is, b)
					}
				}
				ns = f.Namespaces[ns].Parent
			}
		}
		if len(f.Tasks) > 0 && &f.Tasks[0] != &g.Tasks[0] {
			t.Fatal("tasks were copied")
		}
	})
}

func TestRenumberLimit(t *testing.T) {
	f := &forest.Forest{
		Namespaces: []forest.Namespace{{Parent: -1}},
		Pids:       []forest.Pid{{Numbers: []int32{1}}, {Numbers: []int32{70}}, {Numbers: []int32{50}}},
	}
	none := func(int, int32) bool { return false }
	g, err := forest.Renumber(f, 4, none)
	if err != nil || g.Pids[1].Numbers[0] != 3 || g.Pids[2].Numbers[0] != 2 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := forest.Renumber(f, 3, none); err == nil {
		t.Error("two numbers below 3, one of them 1")
	}
}
