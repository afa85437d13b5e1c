// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

// alter changes a field, or an element of it, whatever its type.
func alter(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Slice, reflect.Array:
		if v.Len() == 0 {
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
			return
		}
		alter(v.Index(v.Len() - 1))
	case reflect.Struct:
		alter(v.Field(0))
	default:
		if v.CanUint() {
			v.SetUint(v.Uint() ^ 1)
		} else {
			v.SetInt(v.Int() ^ 1)
		}
	}
}

// eachField calls f once for each field of each element type of a struct of
// slices, with that field altered in a fresh copy's last element.
func eachField[T any](fresh func() *T, f func(name string, altered *T)) {
	top := reflect.TypeFor[T]()
	for i := range top.NumField() {
		element := top.Field(i).Type
		if element.Kind() != reflect.Slice || element.Elem().Kind() != reflect.Struct {
			x := fresh()
			alter(reflect.ValueOf(x).Elem().Field(i))
			f(top.Field(i).Name, x)
			continue
		}
		for j := range element.Elem().NumField() {
			x := fresh()
			list := reflect.ValueOf(x).Elem().Field(i)
			alter(list.Index(list.Len() - 1).Field(j))
			f(top.Field(i).Name+"."+element.Elem().Field(j).Name, x)
		}
		x := fresh()
		list := reflect.ValueOf(x).Elem().Field(i)
		list.SetLen(list.Len() - 1)
		f("one less of "+top.Field(i).Name, x)
	}
}

// No field of a forest can differ between two passes without being noticed:
// also one that is added later.
func TestDifferenceSeesEveryField(t *testing.T) {
	fresh := func() *forest.Forest {
		f := foresttest.Referenced()
		f.Origins, f.Departed = foresttest.Told().Origins, foresttest.Told().Departed
		f.ExitIDs = foresttest.Saved().ExitIDs
		return f
	}
	// What no pass sees, or nothing watches.
	volatile := []string{"References", "Origins", "Departed"}
	a := fresh()
	if !Same(a, fresh()) {
		t.Fatal("a forest is not the same as itself")
	}
	eachField(fresh, func(name string, b *forest.Forest) {
		over := slices.ContainsFunc(volatile, func(v string) bool { return strings.Contains(name, v) })
		if Same(a, b) != (name == "Producer" || over) {
			t.Errorf("%s: %q", name, Difference(a, b))
		}
	})
}

// And none of a snapshot, but for references, what a task is just doing and what goes on in
// the machine's own namespace, which is the first.
func TestSameSnapshotSeesEveryField(t *testing.T) {
	fresh := func() *Snapshot { return liftForest(foresttest.Referenced(), 1, 5) }
	a := fresh()
	if !sameSnapshot(a, fresh()) {
		t.Fatal("a snapshot is not the same as itself")
	}
	volatile := []string{"Tasks.TaskFlags",
		"Namespaces.Allocated", "Namespaces.Cursor", "Namespaces.PidMax", "Namespaces.Reaper"}
	eachField(fresh, func(name string, b *Snapshot) {
		if sameSnapshot(a, b) != (slices.Contains(volatile, name) || strings.Contains(name, "References")) {
			t.Errorf("%s: is it the same? %t", name, sameSnapshot(a, b))
		}
	})
	b := fresh()
	b.Tasks[0].TaskFlags ^= pfExiting
	if sameSnapshot(a, b) {
		t.Error("an exit went unnoticed")
	}
	for what, change := range map[string]func(*Namespace){
		"cursor":                 func(ns *Namespace) { ns.Cursor++ },
		"pid_max":                func(ns *Namespace) { ns.PidMax++ },
		"reaper":                 func(ns *Namespace) { ns.Reaper++ },
		"end of pid allocations": func(ns *Namespace) { ns.Allocated ^= PidnsAdding },
	} {
		for i := range a.Namespaces {
			b := fresh()
			above := b.Namespaces[i].Level == 0
			if change(&b.Namespaces[i]); sameSnapshot(a, b) != above {
				t.Errorf("namespace %d: a change of its %s: is it the same? %t", i, what, !above)
			}
		}
	}
}
