// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"fmt"

	"github.com/pidgraft/pidgraft/forest"
)

// ErrTruncated is wrapped by the error of an image that ends early.
var ErrTruncated = errors.New("the image is cut short: its dump or its transfer did not finish")

// Error is why bytes are not an image.
type Error struct {
	Record string // the record's name and type; empty between two records
	Offset int64  // where the record starts, in bytes
	Err    error  // the rule it breaks
}

func (e *Error) Error() string {
	if e.Record == "" {
		return fmt.Sprintf("image: at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("image: record %s at byte %d: %v", e.Record, e.Offset, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// AbortedError is what reading an image gives whose dump gave up.
type AbortedError struct {
	Message string // of the dump, as it is in the image: untrusted bytes
}

func (e *AbortedError) Error() string {
	return "image: the dump was not finished: " + forest.Escape(e.Message)
}
