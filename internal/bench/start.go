// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	emptyName = "an empty program in Go"
	empty     = "package main\n\nfunc main() {}\n"
)

// startRows: what a command costs before it does anything.
func (b *bench) startRows() []row {
	version := func() (sample, error) { return command(b.pidgraft, "version", "--features=false") }
	return []row{
		{"start/version", "start: pidgraft version", 0, func(r *Row) error {
			program, err := b.emptyProgram()
			if err != nil {
				return err
			}
			err = b.race(r, ours("pidgraft version", version),
				floor(emptyName, func() (sample, error) { return command(program) }))
			if err != nil {
				return err
			}
			info, err := os.Stat(b.pidgraft)
			if err != nil {
				return err
			}
			r.value("the program, with its symbols", float64(info.Size())/(1<<20), "MiB", 0)
			return nil
		}},
		{"start/dump", "the first dump: of a container that is one task", 1, func(r *Row) error {
			return b.alive("one.img", growFlat(0), func(root int) error {
				err := b.race(r, b.dumpOf(root),
					base("the same as a subtree, which takes all of the kernel's BTF", func() (sample, error) { return b.dump(root, "--subtree") }),
					base("pidgraft version", version))
				if err == nil {
					r.value("fixed cost", r.ours().Time.Median, "ms", 60)
				}
				return err
			})
		}},
	}
}

func (b *bench) emptyProgram() (string, error) {
	source, program := filepath.Join(b.dir, "empty.go"), filepath.Join(b.dir, "empty")
	if err := os.WriteFile(source, []byte(empty), 0o600); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", program, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return program, nil
}
