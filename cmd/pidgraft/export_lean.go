// SPDX-License-Identifier: Apache-2.0

//go:build lean

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pidgraft/pidgraft/audit"
	"github.com/pidgraft/pidgraft/audit/record"
)

// auditProgram is pidgraft with what serves, sends and reads CRIU's images linked
// in. That takes as long to start as all the rest, which a dump should not have
// to wait for.
const auditProgram = "pidgraft-audit"

// export is nobody who is told: whoever is to be, another program tells.
type export struct{}

// beginExport becomes the program that can do what the flags ask for, which is
// beside this one.
func (a *auditing) beginExport() (*export, error) {
	if a.listen == "" && a.otlp == "" {
		return nil, nil
	}
	return nil, becomeAuditProgram("--listen and --otlp take")
}

// auditProgramPath is where it is: beside this one.
func auditProgramPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(self), auditProgram), nil
}

// becomeAuditProgram goes on as that, which what says takes; it comes back only
// with an error.
func becomeAuditProgram(what string) error {
	path, err := auditProgramPath()
	if err != nil {
		return err
	}
	err = syscall.Exec(path, os.Args, os.Environ())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s %s, which make build makes, too", errNoProgram, what, path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (e *export) record(*record.Record)        {}
func (e *export) turn(*audit.Auditor, *naming) {}
func (e *export) close() error                 { return nil }
