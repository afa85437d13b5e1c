// SPDX-License-Identifier: Apache-2.0

// Package entry notices who comes into a pid namespace from outside: the first
// number that is given out in a namespace to the child of a task that lives in
// another one. setns alone is not it (only children live there), nor is the birth
// of a namespace's number 1, whose parent is outside by nature.
//
// Contract: pure. What an allow-list silences is decided by names that tasks
// give themselves: it is for keeping the expected quiet, not for security.
package entry
