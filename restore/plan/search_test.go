// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"
)

// TestNext: other ways differ in one turn more than those before, the latest first.
func TestNext(t *testing.T) {
	p := &planner{way: way{turns: []uint16{1}}, options: []uint16{2, 3, 1, 2}}
	var got []string
	for _, w := range p.next() {
		var turns strings.Builder
		for _, turn := range w.turns {
			turns.WriteByte('0' + byte(turn))
		}
		got = append(got, turns.String())
	}
	if want := "1001 11 12"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// TestChoose takes the turns of a way, then the first of what there is.
func TestChoose(t *testing.T) {
	p := &planner{way: way{turns: []uint16{0, 2}}}
	got := [4]int{p.choose(2), p.choose(1), p.choose(3), p.choose(5)}
	if got != [4]int{0, 0, 2, 0} || len(p.options) != 3 {
		t.Errorf("%v of %v options", got, p.options)
	}
}

// TestLimitReached: a refusal says that there may be another way.
func TestLimitReached(t *testing.T) {
	r := limitReached(Refusals{{Kind: Unsupported, Reason: "it is so"}, {Reason: "so is it"}}, 7)
	if want := "it is so; of 6 other ways none led there, and there are more (search limit reached)"; r[0].Error() != want || len(r) != 2 {
		t.Errorf("%v, want %s", r, want)
	}
}
