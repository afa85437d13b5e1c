// SPDX-License-Identifier: Apache-2.0

package loader

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/collector"
)

// randomPass draws what the programs could write in one pass: few different
// values, so that two passes often agree for a while.
func randomPass(t *rapid.T, label string) [][]byte {
	value := rapid.Uint32Range(0, 2)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []byte {
		level := rapid.IntRange(0, 2).Draw(t, "level")
		numbers := make([]byte, numberSize*(level+1))
		for i := 0; i < len(numbers); i += 4 {
			binary.LittleEndian.PutUint32(numbers[i:], value.Draw(t, "number"))
		}
		var head []byte
		if rapid.Bool().Draw(t, "is a task") {
			head = make([]byte, taskHead)
			binary.LittleEndian.PutUint32(head, recordTask)
			marks := rapid.SampledFrom([]uint32{0, taskFromIDR, taskFromIDR | taskSubreaper, taskUndecided}).Draw(t, "marks")
			binary.LittleEndian.PutUint32(head[4:], marks)
			at := 4 * rapid.IntRange(2, taskHead/4-3).Draw(t, "field")
			binary.LittleEndian.PutUint32(head[at:], value.Draw(t, "value"))
			binary.LittleEndian.PutUint32(head[taskHead-4:], uint32(level))
		} else {
			head = make([]byte, pidHead)
			binary.LittleEndian.PutUint32(head, recordPid)
			marks := rapid.SampledFrom([]uint32{0, 1, 1 << 3, pidFromIDR}).Draw(t, "marks")
			binary.LittleEndian.PutUint32(head[4:], marks)
			binary.LittleEndian.PutUint32(head[8:], value.Draw(t, "id"))
			binary.LittleEndian.PutUint32(head[16:], uint32(level))
		}
		return append(head, numbers...)
	}), 0, 6).Draw(t, label)
}

func decode(t *rapid.T, last *collector.Snapshot, pass [][]byte) *collector.Snapshot {
	r := newRecords(last, 0)
	for _, b := range pass {
		if err := r.add(b); err != nil {
			t.Fatal(err)
		}
	}
	return r.finish()
}

// What a pass shows does not depend on what the pass before it showed, whether
// the two agree, differ from some record on, or one is the beginning of the
// other; and the earlier snapshot stays what it was.
func TestPassAfterPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := randomPass(t, "before")
		after := before
		switch rapid.IntRange(0, 3).Draw(t, "how it goes on") {
		case 0:
			n := rapid.IntRange(0, len(before)).Draw(t, "common")
			after = append(append([][]byte{}, before[:n]...), randomPass(t, "after")...)
		case 1:
			after = before[:rapid.IntRange(0, len(before)).Draw(t, "common")]
		case 2:
			if len(before) == 0 {
				break
			}
			after = append([][]byte{}, before...)
			i := rapid.IntRange(0, len(after)-1).Draw(t, "record")
			changed := append([]byte{}, after[i]...)
			at := rapid.IntRange(8, len(changed)-1).Draw(t, "byte")
			changed[at]++
			if newRecords(nil, 0).add(changed) == nil { // not its level
				after[i] = changed
			}
		}
		first := decode(t, nil, before)
		second := decode(t, first, after)
		if diff := cmp.Diff(decode(t, nil, after), second); diff != "" {
			t.Fatalf("after another pass (-) it is not what it is alone (+):\n%s", diff)
		}
		if diff := cmp.Diff(decode(t, nil, before), first); diff != "" {
			t.Fatalf("the first pass was changed by the second:\n%s", diff)
		}
	})
}
