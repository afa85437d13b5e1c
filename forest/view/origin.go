// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// origins lists who was born elsewhere than the tree shows, or in another
// session, as a history told.
func (t *tree) origins() {
	if len(t.f.Origins) == 0 {
		return
	}
	fmt.Fprint(t.w, "\nhistory: who was born elsewhere\n")
	unknown, none := 0, true
	for i := range t.f.Origins {
		task, o := &t.f.Tasks[i], &t.f.Origins[i]
		switch {
		case !task.IsLeader():
			continue
		case !o.Known():
			unknown++
			continue
		case o.By == task.Parent && o.Between == 0 && (o.Session == task.SID || o.Session == forest.Null):
			continue
		}
		none = false
		fmt.Fprintf(t.w, "  %s: %s%s\n", t.o.text(bold, t.f.TaskName(i)), t.bore(o), t.inSession(o, task.SID))
	}
	for i := range t.f.Departed {
		d := &t.f.Departed[i]
		led := ""
		if d.Object != forest.Outside {
			led = ", led " + t.f.TagName(d.Object)
		}
		fmt.Fprintf(t.w, "  departed %d%s: %s%s\n", i+1, led, t.bore(&d.Origin), t.inSession(&d.Origin, forest.Null))
	}
	if none {
		fmt.Fprint(t.w, "  nobody of whom it tells\n")
	}
	if unknown > 0 {
		fmt.Fprintf(t.w, "  of %d nobody saw being born\n", unknown)
	}
}

func (t *tree) bore(o *forest.Origin) string {
	by := "nobody knows of whom"
	switch {
	case o.Departed != forest.None:
		by = fmt.Sprintf("departed %d", o.Departed+1)
	case o.By == forest.Outside:
		by = "somebody outside"
	case o.By.IsPid():
		by = t.f.TaskName(t.x.TaskOf(o.By))
	}
	switch o.Between {
	case 0:
		return "born of " + by
	case 1:
		return "born of a process that is gone, born of " + by
	}
	return fmt.Sprintf("born of the last of %d that are gone, the first born of %s", o.Between, by)
}

func (t *tree) inSession(o *forest.Origin, now forest.Tag) string {
	if o.Session == now || o.Session == forest.Null {
		return ""
	}
	return ", in session " + t.f.TagName(o.Session)
}

type jsonOrigin struct {
	By       forest.Tag `json:"by"`
	Departed *int       `json:"departed"`
	Between  uint32     `json:"between"`
	Session  forest.Tag `json:"session"`
	Group    forest.Tag `json:"group"`
}

type jsonDeparted struct {
	jsonOrigin
	Object forest.Tag `json:"object"`
}

func origin(o *forest.Origin) jsonOrigin {
	j := jsonOrigin{o.By, nil, o.Between, o.Session, o.Group}
	if o.Departed != forest.None {
		j.Departed = &o.Departed
	}
	return j
}

func jsonOrigins(f *forest.Forest) (births []jsonOrigin, departed []jsonDeparted) {
	for i := range f.Origins {
		births = append(births, origin(&f.Origins[i]))
	}
	for i := range f.Departed {
		departed = append(departed, jsonDeparted{origin(&f.Departed[i].Origin), f.Departed[i].Object})
	}
	return births, departed
}
