// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/restore/model"
)

// shrink leaves out calls of h, and what then can no longer be called, as long
// as the forest at its end is one of which same is true.
func shrink(h *model.History, same func(*model.History, *forest.Forest) bool) *model.History {
	for size := len(h.Steps) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(h.Steps); {
			less, f := without(h, at, at+size)
			if f != nil && len(less.Steps) < len(h.Steps) && same(less, f) {
				h, smaller = less, true
			} else {
				at++
			}
		}
		if size > 1 {
			size /= 2
		} else if !smaller {
			break
		}
	}
	return h
}

// without is history h without its calls from to to, and the forest at its
// end; nil if there is none.
func without(h *model.History, from, to int) (*model.History, *forest.Forest) {
	k := model.NewVersion(h.Version)
	less := &model.History{Version: h.Version, Mode: h.Mode}
	now := map[model.TaskID]model.TaskID{0: 0, model.HostInit: model.HostInit, model.Outsider: model.Outsider}
	for i := range h.Steps {
		if i >= from && i < to {
			continue
		}
		s := h.Steps[i]
		known := true
		for _, id := range []*model.TaskID{&s.Actor, &s.Target, &s.Group} {
			to, ok := now[*id]
			*id, known = to, known && ok
		}
		if !known {
			continue
		}
		if s.Kind == model.JoinGroup || s.Kind == model.MoveChild {
			if target := s.Target; s.Group != 0 && (target != 0 && k.PinsForEver(target, s.Group) || k.PinsForEver(s.Actor, s.Group)) {
				continue
			}
		}
		child := s.Child
		s.Child = 0
		if errno := k.Apply(&s); errno != 0 && errno != h.Steps[i].Errno {
			continue
		}
		if child != 0 {
			now[child] = s.Child
		}
		less.Steps = append(less.Steps, s)
	}
	less.Root = now[h.Root]
	if less.Root == 0 {
		return nil, nil
	}
	f, err := k.Forest(less.Root, less.Mode)
	if err != nil {
		return nil, nil
	}
	return less, f
}
