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

// program is the descriptor of the compiled puppet. The file has no name any
// more, so that nothing is left behind however the test ends.
var program struct {
	sync.Mutex
	file *os.File
}

func puppet() (*os.File, error) {
	program.Lock()
	defer program.Unlock()
	if program.file != nil {
		return program.file, nil
	}
	path := os.Getenv(PuppetEnv)
	if path == "" {
		dir, err := os.MkdirTemp("", "testforest")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "puppet")
		if err := CompilePuppet(path, ""); err != nil {
			return nil, err
		}
	}
	var err error
	program.file, err = os.Open(path)
	return program.file, err
}

// Close closes the puppet, which is kept open for all forests.
func Close() error {
	program.Lock()
	defer program.Unlock()
	if program.file == nil {
		return nil
	}
	err := program.file.Close()
	program.file = nil
	return err
}

// CompilePuppet makes, with the compiler cc or else $CC or gcc, the program
// that PuppetEnv may name. It is static.
func CompilePuppet(program, cc string) error {
	if cc == "" {
		cc = os.Getenv("CC")
	}
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
