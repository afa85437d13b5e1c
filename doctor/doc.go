// SPDX-License-Identifier: Apache-2.0

// Package doctor finds out what of pidgraft's work this machine lets this
// process do, and why not the rest.
//
// Contract: every answer is an attempt at the smallest thing of its kind (a map
// is made, a program of two instructions loaded, a task with a chosen number
// born and ended, an empty cgroup frozen), never a guess by a version; nothing
// of it stays. Versions and configurations only choose the words in which a
// failure is explained. An attempt is made at most once per process, when
// somebody asks: Examine asks for all, Explain for those of one job after that
// has failed.
package doctor
