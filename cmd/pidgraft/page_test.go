// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

// The page shows an audit in a browser as it goes on, runs nothing that a process
// is called, and logs no error, of its policy for one.
func TestPage(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	require.Feature(t, require.Program("chromium", "chromium"))
	f := testforest.Start(t, `
		outside fork init newpid
		init comm nginx
		init fork web
		web setsid
		web comm nginx:_worker
		web thread io
		init fork job
		job setpgid self self
		job fork part
		part comm <b/onclick=x>
		init fork engine
		engine comm containerd-shim
		engine fork box newpid
		box comm tini
		box setsid
		box fork app
		app comm node
		app setsid
		app fork helper
		helper fork deep newpid
		deep comm bwrap
		deep fork x`)
	inContainer(t, f.Root(), filepath.Join("kubepods", "pod3d1f8c9a-5b7e-4f60-8a21-c0ffee123456", "cri-containerd-"+containerID))
	a, at := startListening(t, "--pid", fmt.Sprint(f.Root()), "--hidden-every", "0", "--zombie-after", "1s")
	defer a.end()
	defer a.signal(os.Interrupt)
	go func() {
		for range a.lines {
		}
	}()
	b := startBrowser(t)
	b.do(chromedp.Navigate(at))
	b.truth(`document.querySelectorAll(".ns").length === 3`)
	b.truth(`document.querySelector(".ns .ns .ns .row") !== null`)
	b.truth(`document.querySelector(".pill").textContent === "complete"`)
	b.truth(`document.body.innerText.includes("Nothing is wrong now.")`)
	b.truth(`document.querySelector(".chip").title === "` + containerID + `"`)
	b.truth(`[...document.querySelectorAll(".name")].some(e => e.textContent === "<b/onclick=x>")`)
	b.truth(`document.querySelector("[onclick]") === null`)
	b.truth(`document.querySelectorAll(".row").length === 10`)

	// What happens shows.
	do(t, f, "job exit 0\ninit reap job\napp fork late\nweb fork z\nz exit 3")
	b.truth(`document.querySelectorAll(".row").length === 11`)
	b.truth(`document.querySelectorAll(".ghosts b.ghost").length === 1`)
	b.truth(`document.querySelectorAll(".row.dead").length === 1`)
	b.truth(`document.querySelector(".finding.warning strong").textContent === "zombie"`)
	do(t, f, "outside setns box pid\noutside fork entrant")
	b.truth(`document.querySelector("#recent").textContent.includes("was born into")`)
	b.do(chromedp.SendKeys("#find", "bwrap"))
	b.truth(`document.querySelectorAll(".row.hit").length === 1`)
	b.do(chromedp.SendKeys("#find", "\b\b\b\b\b"))
	b.truth(`document.querySelectorAll(".row.hit").length === 0`)
	b.scheme("audit", "light")
	b.truth(`getComputedStyle(document.body).color === "rgb(28, 36, 48)"`)
	b.scheme("audit", "dark")
	b.truth(`getComputedStyle(document.body).color === "rgb(223, 230, 239)"`)

	b.noErrors()
}
