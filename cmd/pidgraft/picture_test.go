// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/pidgraft/pidgraft/forest"
	"github.com/pidgraft/pidgraft/forest/foresttest"
	"github.com/pidgraft/pidgraft/forest/view"
	"github.com/pidgraft/pidgraft/internal/require"
)

// large is a forest of some 2,000 tasks in chains and threads, with names that
// would be markup.
func large() *forest.Forest {
	f := foresttest.Sample()
	next := int32(40000)
	for len(f.Tasks) < 2000 {
		// The last but a few in the tree bears the next, so that there are all depths.
		parent := &f.Tasks[len(f.Tasks)-1-len(f.Tasks)*7%5]
		if !parent.IsLeader() || parent.State != forest.Running || f.Pid(parent.Pid).Namespace != 0 {
			parent = f.Root()
		}
		next++
		f.Pids = append(f.Pids, forest.Pid{Numbers: []int32{next}})
		tag := forest.Tag(len(f.Pids))
		k := *parent
		k.Pid, k.TGID, k.Parent, k.ParentThread = tag, tag, parent.Pid, parent.Pid
		k.ExitSignal, k.Comm = forest.SIGCHLD, "<b onclick=x>"
		if len(f.Tasks)%3 == 0 {
			k.TGID, k.Parent, k.ParentThread, k.ExitSignal = parent.Pid, parent.Parent, parent.ParentThread, forest.ExitSignalThread
		}
		f.Tasks = append(f.Tasks, k)
	}
	return f
}

func writeTo(t *testing.T, name string, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// show -o html and diff -o html in a browser: all is there, is found, collapsed
// and expanded again, and nothing that a process is called is run.
func TestPictures(t *testing.T) {
	require.Root(t) // where the browser is
	require.Feature(t, require.Program("chromium", "chromium"))
	b := startBrowser(t)
	f := large()
	b.do(chromedp.Navigate("file://" + writeTo(t, "show.html", func(w io.Writer) error { return view.HTML(w, f) })))
	b.truth(fmt.Sprintf(`document.querySelectorAll("main .row[id]").length === %d`, len(f.Tasks)))
	b.truth(`document.querySelector("[onclick]") === null`)
	// One below the last namespace is in boxes in boxes.
	b.truth(`document.querySelectorAll(".ns .ns").length > 0`)
	b.do(chromedp.SendKeys("#find", "40007"))
	b.truth(`document.querySelectorAll(".hit").length === 1 && document.querySelector(".hit b").textContent.includes("40007")`)
	b.truth(`document.getElementById("found").textContent === "1 of 1"`)
	b.do(chromedp.Click("#shut"))
	b.truth(`[...document.querySelectorAll("main details details")].every(d => !d.open)`)
	b.do(chromedp.SendKeys("#find", "\r"))
	b.truth(`document.querySelector(".hit").checkVisibility()`)
	b.do(chromedp.Click("#open"))
	b.truth(`[...document.querySelectorAll("main details")].every(d => d.open)`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#t0 .tag").dispatchEvent(new MouseEvent("mouseover", {bubbles: true}))`))
	b.truth(`document.querySelectorAll(".same").length > 0 && document.querySelectorAll(".faint").length > 0`)
	b.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
	b.scheme("show", "light")
	b.truth(`getComputedStyle(document.body).color === "rgb(28, 36, 48)"`)
	b.scheme("show", "dark")
	b.truth(`getComputedStyle(document.body).color === "rgb(223, 230, 239)"`)

	g := large()
	g.Tasks[1].Comm = "renamed"
	ds := forest.Diff(f, g, forest.DiffOptions{})
	b.do(chromedp.Navigate("file://" + writeTo(t, "diff.html", func(w io.Writer) error { return view.HTMLDiff(w, f, g, ds, "a.img", "b.img") })))
	b.truth(`document.querySelectorAll("mark").length === 2 && document.querySelectorAll(".differences li").length === 1`)
	b.do(chromedp.Click(`.differences li a[href="#b1"]`))
	b.truth(`document.querySelector(":target").id === "b1"`)
	b.do(chromedp.Evaluate[chromedp.Void](`scrollTo(0, 0)`))
	b.scheme("diff", "light")
	b.truth(`getComputedStyle(document.querySelector("mark")).backgroundColor === "rgb(255, 229, 138)"`)
	b.scheme("diff", "dark")
	b.truth(`getComputedStyle(document.querySelector("mark")).backgroundColor === "rgb(107, 83, 0)"`)
	b.noErrors()
}

// Graphviz takes what show -o dot prints.
func TestDOT(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Program("dot", "graphviz"))
	path := writeTo(t, "forest.dot", func(w io.Writer) error { return view.DOT(w, foresttest.Sample()) })
	out, err := exec.Command("dot", "-Tsvg", path).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("</svg>")) || bytes.Contains(out, []byte("Warning")) {
		t.Errorf("%v\n%.2000s", err, out)
	}
}
