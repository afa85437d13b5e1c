// SPDX-License-Identifier: Apache-2.0

package view

import (
	"math"

	"github.com/pidgraft/pidgraft/forest"
)

// palette gives sessions and groups their colours in a picture: a session a
// hue, the groups in it shades of that hue, in the order in which they are met.
// Neighbours differ most, since each hue is a golden angle from the last.
type palette struct {
	session map[forest.Tag]int
	group   map[forest.Tag]shade
	groups  map[forest.Tag]int // of a session, so far
}

// shade is the colour of a group.
type shade struct{ session, step int }

// shades is how many groups of a session are told apart by their shade.
const shades = 4

func newPalette(f *forest.Forest) *palette {
	p := &palette{map[forest.Tag]int{}, map[forest.Tag]shade{}, map[forest.Tag]int{}}
	for i := range f.Tasks {
		k := &f.Tasks[i]
		if _, ok := p.session[k.SID]; !ok {
			p.session[k.SID] = len(p.session)
		}
		if _, ok := p.group[k.PGID]; !ok {
			p.group[k.PGID] = shade{p.session[k.SID], p.groups[k.SID] % shades}
			p.groups[k.SID]++
		}
	}
	return p
}

func hue(n int) int {
	golden := 180 * (3 - math.Sqrt(5))
	return int(math.Mod(210+float64(n)*golden, 360))
}

// hueOf is the hue of a session, in degrees.
func (p *palette) hueOf(session forest.Tag) int { return hue(p.session[session]) }

// shadeOf is the hue of a group, in degrees, and which of its shades.
func (p *palette) shadeOf(group forest.Tag) (degrees, step int) {
	s := p.group[group]
	return hue(s.session), s.step
}
