// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// fakeQEMU stands for QEMU: what it does with KVM, and what it does with TCG.
func fakeQEMU(t *testing.T, kvm, tcg string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in\n*'-accel kvm'*) " + kvm + " ;;\n*) " + tcg + " ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, machines[runtime.GOARCH].qemu), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

const (
	goodGuest = `printf 'VMTEST-INIT 6.12\r\nVMTEST-RUN ./x\r\n=== RUN   TestX\r\n--- PASS: TestX (0.00s)\r\nPASS\r\nVMTEST-DONE ./x 0 1\r\nVMTEST-EXIT 0\r\n'`
	panics    = `printf 'Kernel panic - not syncing\r\n'`
)

// What dies before the init is done once more, with TCG if it was with KVM; what
// dies after it is a failure. QEMU's status says nothing.
func TestFallback(t *testing.T) {
	for name, c := range map[string]struct {
		kvm, tcg string
		ok       bool
		noKVM    bool
		says     string // of the error
	}{
		"works":               {goodGuest, "exit 1", true, false, ""},
		"internal error":      {`echo 'KVM internal error. Suberror: 3' >&2; exec sleep 60`, goodGuest, true, true, ""},
		"error after init":    {`printf 'VMTEST-INIT 6.12\r\n'; echo 'KVM internal error. Suberror: 1' >&2; exec sleep 60`, goodGuest, true, true, ""},
		"QEMU aborts":         {"kill -ABRT $$", goodGuest, true, true, ""},
		"panics with KVM":     {panics, goodGuest, true, true, ""},
		"panics with both":    {panics, panics, false, true, "no VMTEST-EXIT line"},
		"panics after init":   {`printf 'VMTEST-INIT 6.12\r\nVMTEST-RUN ./x\r\n'; ` + panics, goodGuest, false, false, "no VMTEST-EXIT line"},
		"ends without a test": {`printf 'VMTEST-INIT 6.12\r\nVMTEST-EXIT 0\r\n'`, goodGuest, false, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fakeQEMU(t, c.kvm, c.tcg)
			h := &host{}
			r := h.run(t.Context(), kernel{name: "fake", arch: runtime.GOARCH}, "image", "initramfs")
			if r.ok() != c.ok || h.noKVM.Load() != c.noKVM {
				t.Errorf("ok %t (%v), without KVM from now on %t", r.ok(), r.err, h.noKVM.Load())
			}
			if c.says != "" && (r.err == nil || !strings.Contains(r.err.Error(), c.says)) {
				t.Errorf("it says %v", r.err)
			}
		})
	}
}
