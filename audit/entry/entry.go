// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/pidgraft/pidgraft/audit/event"
)

// Entry is a task that was born into a namespace by one outside.
type Entry struct {
	Task    event.Task
	Into    event.Number // its number in the namespace
	Creator event.Creator
}

// Of is the entry that a birth is, if it is one.
func Of(e event.Event) (Entry, bool) {
	if e.Kind != event.Birth || len(e.Task.Numbers) == 0 {
		return Entry{}, false
	}
	into := e.Task.Numbers[len(e.Task.Numbers)-1]
	if into.Nr == 1 || e.Creator.Namespace == into.Namespace {
		return Entry{}, false
	}
	return Entry{Task: e.Task, Into: into, Creator: e.Creator}, true
}

// List is who may enter.
type List struct{ rules []rule }

// rule allows what fits all of its conditions.
type rule struct {
	comm string // pattern of path.Match; "": any
	uid  int64  // -1: any
	ns   uint32 // the creator's pid namespace; 0: any
	into uint32 // the namespace that is entered; 0: any
}

// ParseList reads an allow-list: a rule a line, of conditions NAME=VALUE that
// must all be met: comm (the name of the task that enters, as of path.Match;
// blanks and # as in \x20), uid (in the initial user namespace), from and into
// (inodes of pid namespaces). Empty lines and what follows a # are nothing.
func ParseList(r io.Reader) (*List, error) {
	l := &List{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		rule, err := parseRule(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		l.rules = append(l.rules, rule)
	}
	return l, lines.Err()
}

func parseRule(words []string) (rule, error) {
	r := rule{uid: -1}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		var err error
		switch name {
		case "comm":
			if value, err = strconv.Unquote(`"` + value + `"`); err == nil {
				r.comm = value
				_, err = path.Match(r.comm, "")
			}
		case "uid":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			r.uid = int64(n)
		case "from", "into":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			if name == "from" {
				r.ns = uint32(n)
			} else {
				r.into = uint32(n)
			}
		default:
			return r, fmt.Errorf("%q: a condition is comm=, uid=, from= or into=", w)
		}
		if err != nil {
			return r, fmt.Errorf("%q: %w", w, err)
		}
	}
	return r, nil
}

// Allows reports whether an entry is expected. A nil List expects none.
func (l *List) Allows(e Entry) bool {
	if l == nil {
		return false
	}
	for _, r := range l.rules {
		if r.fits(e) {
			return true
		}
	}
	return false
}

func (r rule) fits(e Entry) bool {
	if r.comm != "" {
		if ok, _ := path.Match(r.comm, e.Creator.Comm); !ok {
			return false
		}
	}
	return (r.uid < 0 || r.uid == int64(e.Creator.UID)) &&
		(r.ns == 0 || r.ns == e.Creator.Inode) &&
		(r.into == 0 || r.into == e.Into.Inode)
}

// Len is how many rules there are.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	return len(l.rules)
}
