// SPDX-License-Identifier: Apache-2.0

package forest

import "strconv"

// Tag names a pid object of a forest: tag t is Forest.Pids[t-1]. Tags are
// given in order of first appearance; the root task's pid is tag 1. The
// values that name no object of the forest are those of linux-cr
// (ckpt_task_pids, 2011), chosen there to be outside the errno range.
type Tag int32

const (
	// Outside is an object that is not visible in the root namespace (a
	// parent, group or session outside the forest). Nothing else about it
	// is recorded.
	Outside Tag = 0
	// Null is a null pid pointer.
	Null Tag = -4096
	// Inherited is the session or group that the root task itself
	// inherited from outside the forest, for every task that has it. After
	// a restore it is whatever the restorer hands down.
	Inherited Tag = -4097
)

// IsPid reports whether t names a pid object of a forest.
func (t Tag) IsPid() bool { return t > 0 }

func (t Tag) String() string {
	switch t {
	case Outside:
		return "outside"
	case Null:
		return "null"
	case Inherited:
		return "inherited"
	}
	return "#" + strconv.Itoa(int(t))
}
