// SPDX-License-Identifier: Apache-2.0

// Package image is the codec of the native image: a forest.Forest to a stream
// of bytes, and back.
//
// Contract: pure. Write takes an io.Writer and a forest, Read an io.Reader and
// gives a forest; neither seeks, opens, syncs or renames anything. Write
// refuses what Read would refuse. Two encodings of equal forests are the same
// bytes. Read trusts nothing: it takes memory in proportion to the bytes that
// are there, not to what they claim, ends with forest.Validate, and names
// record, offset and rule of what it rejects. It reads not one byte beyond the
// image.
//
// The first ten records are those of linux-cr (its headers of 2011, "v23"), so
// that the original's reader can walk them; what it had no words for follows
// in records of our own. docs/design/image.md has the layouts.
package image
