// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/pidgraft/pidgraft/internal/require"
	"github.com/pidgraft/pidgraft/internal/testforest"
)

var screenshots = flag.String("screenshots", "", "write pictures of the page to this directory")

// browser is a Chromium with one page, and the errors that it logs.
type browser struct {
	t      *testing.T
	ctx    context.Context
	mu     sync.Mutex
	errors []string
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{t: t}
	alloc, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 1000),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(time.Minute))
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		// It waits until the browser has ended.
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
		stop()
	})
	b.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				b.errors = append(b.errors, fmt.Sprint(e.Entry.Text, " ", e.Entry.URL))
			}
		case *runtime.EventExceptionThrown:
			b.errors = append(b.errors, fmt.Sprintf("%+v", e.ExceptionDetails))
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// truth waits until an expression is true in the page.
func (b *browser) truth(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if is {
			return
		}
		if ctx.Err() != nil {
			text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
			b.t.Fatalf("%s: %v\n%s", expression, err, text)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// scheme makes it light or dark, and takes a picture where -screenshots says.
func (b *browser) scheme(name string) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	}); err != nil {
		b.t.Fatal(err)
	}
	if *screenshots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// The page shows an audit in a browser as it goes on, runs nothing that a process
// is called, and logs no error, of its policy for one.
func TestPage(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.BTF)
	require.Feature(t, require.ProbeReads)
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
	b.scheme("light")
	b.truth(`getComputedStyle(document.body).color === "rgb(28, 36, 48)"`)
	b.scheme("dark")
	b.truth(`getComputedStyle(document.body).color === "rgb(223, 230, 239)"`)

	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) > 0 {
		t.Errorf("the browser logs:\n%s", strings.Join(b.errors, "\n"))
	}
}
