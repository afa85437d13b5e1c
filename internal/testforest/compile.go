// SPDX-License-Identifier: Apache-2.0

package testforest

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

//go:embed puppet/puppet.c
var puppetSource []byte

// PuppetEnv names a puppet built elsewhere, for machines without a compiler.
const PuppetEnv = "PIDGRAFT_PUPPET"

// puppet is the descriptor of the compiled program. The file has no name any
// more, so that nothing is left behind however the test ends.
var puppet = sync.OnceValues(func() (*os.File, error) {
	if path := os.Getenv(PuppetEnv); path != "" {
		return os.Open(path)
	}
	dir, err := os.MkdirTemp("", "testforest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "puppet")
	if err := CompilePuppet(program); err != nil {
		return nil, err
	}
	return os.Open(program)
})

// CompilePuppet makes, with $CC or gcc, the program that PuppetEnv may name.
// It is static.
func CompilePuppet(program string) error {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	cmd := exec.Command(cc, "-O2", "-Wall", "-Wextra", "-Werror", "-static",
		"-nostdlib", "-ffreestanding", "-fno-stack-protector",
		"-o", program, "-x", "c", "-")
	cmd.Stdin = bytes.NewReader(puppetSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile puppet.c with %s: %w\n%s", cc, err, out)
	}
	return nil
}
