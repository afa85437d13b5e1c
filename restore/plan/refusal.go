// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"github.com/pidgraft/pidgraft/forest"
)

// Refusal is why a forest cannot be rebuilt exactly: what about which task,
// and which rule of the kernel or limit of the planner stands against it.
type Refusal struct {
	Task   int        // index in Forest.Tasks, or -1
	Tag    forest.Tag // the pid object it is about, or 0
	Kind   Kind
	Reason string // one line, naming numbers
}

// Kind sorts refusals by what would have to change.
type Kind uint8

const (
	// Unreachable: no legal history ends in this state, or none that can
	// be repeated from outside; the reason names the rule.
	Unreachable Kind = iota
	// Unsupported: such a state can be, but this version cannot build it.
	Unsupported
	// NotHere: this machine cannot hold it (pid_max, levels).
	NotHere
	// SearchLimit: a way was searched for and neither found nor ruled out.
	SearchLimit
)

var kinds = [...]string{"unreachable", "not implemented yet", "not possible here", "search limit reached"}

func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return "unknown"
	}
	return kinds[k]
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (%s)", r.Reason, r.Kind)
}

// Refusals is everything found that stands against a rebuild.
type Refusals []*Refusal

func (rs Refusals) Error() string {
	lines := make([]string, len(rs))
	for i, r := range rs {
		lines[i] = r.Error()
	}
	return strings.Join(lines, "\n")
}
