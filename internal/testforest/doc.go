// SPDX-License-Identifier: Apache-2.0

// Package testforest builds real process forests, one system call at a time,
// for tests to dump, restore and compare.
//
// A forest is described by a script. Each line is an actor, an operation and
// its arguments; an actor is a task, process or thread, made by an earlier
// line:
//
//	outside fork init newpid   # the init of a new pid namespace
//	init    fork a             # a plain child
//	a       setsid
//	a       fork b
//	a       exit 3             # a is a zombie, b an orphan of init
//	init    reap a             # a's number lives on as a ghost session
//
// Two actors are there from the start: outside, the first process of the
// forest, which runs in the namespaces, session and process group of the test
// and is a subreaper; and host, the test itself, which sends signals, writes
// id maps and names the target. See Forest.Do for the operations.
//
// Each task of a forest is a puppet (puppet/puppet.c): a freestanding program
// that waits in memory shared with the test for one system call after
// another. So the kernel sees just the calls of the script, in its order, and
// a test can go on with a forest as long as it likes.
//
// A forest dies with its test: every puppet watches a pipe whose other end
// only the test holds, and Kill ends and reaps all of it before that.
package testforest
