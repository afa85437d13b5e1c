// SPDX-License-Identifier: Apache-2.0

package view

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
)

var notBare = regexp.MustCompile(`(?s)<(style|script)>.*?</(style|script)>|script-src '[^']*'`)

// bare is a page without its style and script, which are files of their own.
func bare(w io.Writer, show func(io.Writer) error) error {
	var b bytes.Buffer
	if err := show(&b); err != nil {
		return err
	}
	_, err := w.Write(notBare.ReplaceAll(b.Bytes(), nil))
	return err
}

// element is what a picture says in one place; its text if it is a row or a
// summary.
type element struct {
	name, class, id string
	text            string
	depth           int
}

// parse reads a picture as another program would: every element begins and
// ends, and in the right order.
func parse(t interface{ Fatal(...any) }, doc []byte) []element {
	d := xml.NewDecoder(bytes.NewReader(notBare.ReplaceAll(doc, nil)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var all []element
	var open []int
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local, depth: len(open)}
			for _, a := range token.Attr {
				switch a.Name.Local {
				case "class":
					e.class = a.Value
				case "id":
					e.id = a.Value
				}
			}
			open = append(open, len(all))
			all = append(all, e)
		case xml.EndElement:
			if name := all[open[len(open)-1]].name; name != token.Name.Local {
				t.Fatal(fmt.Sprintf("</%s> ends <%s>", token.Name.Local, name))
			}
			open = open[:len(open)-1]
		case xml.CharData:
			// Of the others the text is that of many rows.
			for _, i := range open {
				if e := &all[i]; e.name == "summary" || strings.HasPrefix(e.class, "row") {
					e.text += string(token)
				}
			}
		}
	}
	if len(open) > 0 {
		t.Fatal(fmt.Sprintf("<%s> has no end", all[open[len(open)-1]].name))
	}
	return all
}

// Whatever the forest, each picture is well formed and has all tasks, ghosts
// and namespaces in it: each task once, a ghost once.
func TestPicturesHoldAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := foresttest.Random(t)
		for i := range f.Tasks {
			f.Tasks[i].Comm = rapid.SampledFrom([]string{"sh", `<b>"&'`, "\\", "a\"b"}).Draw(t, "comm")
		}
		ghosts := forest.NewIndex(f).Ghosts()
		var page, drawing bytes.Buffer
		if err := errors.Join(HTML(&page, f), SVG(&drawing, f)); err != nil {
			t.Fatal(err)
		}
		rows, boxes, ghostRows := map[string]string{}, "", 0
		for _, e := range parse(t, page.Bytes()) {
			switch {
			case strings.HasPrefix(e.class, "row ghost"):
				ghostRows++
			case strings.HasPrefix(e.class, "row"):
				if _, ok := rows[e.id]; ok {
					t.Fatalf("two elements %s", e.id)
				}
				rows[e.id] = e.text
			case e.name == "summary":
				boxes += e.text + "\n"
			}
		}
		if len(rows) != len(f.Tasks) || ghostRows != len(ghosts) {
			t.Fatalf("%d rows for %d tasks, %d for %d ghosts", len(rows), len(f.Tasks), ghostRows, len(ghosts))
		}
		for i := range f.Tasks {
			k := &f.Tasks[i]
			text := rows[fmt.Sprint("t", i)]
			if !strings.Contains(text, f.TagName(k.Pid)) || !strings.Contains(text, forest.Escape(k.Comm)) {
				t.Fatalf("task %s %q: %q", f.TagName(k.Pid), k.Comm, text)
			}
		}
		for ns := range f.Namespaces {
			if !strings.Contains(boxes, fmt.Sprint(f.Namespaces[ns].Inode)) {
				t.Fatalf("namespace %d has no box:\n%s", f.Namespaces[ns].Inode, boxes)
			}
		}
		names := 0
		for _, e := range parse(t, drawing.Bytes()) {
			if e.class == "num" {
				names++
			}
		}
		if names != len(f.Tasks) {
			t.Fatalf("the drawing has %d of %d tasks", names, len(f.Tasks))
		}
	})
}

// A page of a chain as long as a namespace is large stays readable for a
// browser: elements are not deeper in each other than one can take.
func TestDeepPage(t *testing.T) {
	f := chain(1000)
	var b bytes.Buffer
	if err := HTML(&b, f); err != nil {
		t.Fatal(err)
	}
	deepest, rows := 0, 0
	for _, e := range parse(t, b.Bytes()) {
		deepest = max(deepest, e.depth)
		if strings.HasPrefix(e.class, "row") {
			rows++
		}
	}
	if deepest > 300 || rows != len(f.Tasks) {
		t.Errorf("elements %d deep, %d rows for %d tasks", deepest, rows, len(f.Tasks))
	}
}
