// SPDX-License-Identifier: Apache-2.0

// Package criu reads and writes the images of CRIU (criu.org), as far as they
// say what a process forest is: inventory, pstree, core, ids and userns.
//
// Contract: pure. Read takes a directory as an fs.FS, ReadArchive a checkpoint
// archive as a stream, and Write gives files as bytes; none opens, syncs or
// renames anything. What is read is trusted in nothing: sizes and counts are
// bounded, memory grows only with bytes that are there, every rejection names
// the file and what is wrong with it, and the end is forest.Validate.
//
// CRIU has words for less than a forest holds. What its images do not say gets,
// in Read, what `criu restore` would make of it (docs/convert.md has the list).
// Write reads back what it wrote and lists each difference: if the list is
// empty, nothing that a restore brings back is lost.
//
// The messages are those of checkpoint-restore/go-criu; the framing around
// them, and what CRIU 3.17 and 4.2 put into them, is known from the sources of
// CRIU (criu/image.c, pstree.c, seize.c, cr-dump.c, cr-restore.c), none of
// which is copied.
package criu
