// SPDX-License-Identifier: Apache-2.0

// Command bench measures pidgraft against what people use today, and against
// what nobody can go below on this machine.
//
//	go run ./internal/bench                    # all rows, a table
//	go run ./internal/bench dump restore/flat  # those whose names match
//	go run ./internal/bench -list
//	go run ./internal/bench -o json >bench.json
//	go run ./internal/bench -from bench.json -o svg >bench.svg
//
// A row is one piece of work: ours, peers that do the same work or part of it, and
// a floor: the least that any program could do. They run in turn, once to warm up and
// then -rounds times; a row has the median, the least and the most. Whole
// processes are timed, their start included, but for peers and floors that are
// part of this program or of peers/: those say themselves how long they took,
// without their start, which is in their favour.
//
// The processor's time beside it is user and system time of the process that was
// timed. On a machine that does other things it says more than the time by the
// clock.
//
// A peer that cannot run here is in the row with the reason. The command judges
// nothing: targets are shown beside what was measured, and where one is missed
// that is no error. It is run from the top of the source tree, as root.
package main
