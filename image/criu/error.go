// SPDX-License-Identifier: Apache-2.0

package criu

import (
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// ErrTruncated is wrapped by the error of a file or archive that ends early.
var ErrTruncated = errors.New("it is cut short: its dump or its transfer did not finish")

// Error is why files are no images of CRIU of which a forest can be made.
type Error struct {
	File string // by its path in the directory or archive; empty: the archive itself
	Err  error  // what is wrong with it
}

func (e *Error) Error() string {
	if e.File == "" {
		return fmt.Sprintf("checkpoint archive: %v", e.Err)
	}
	return fmt.Sprintf("CRIU image %s: %v", forest.Escape(e.File), e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
