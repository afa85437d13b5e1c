// SPDX-License-Identifier: Apache-2.0

// Package budget says how many numbers a pid namespace has used, and how long
// the rest will last.
//
// Contract: pure. A number is taken in every namespace from the initial one down
// to the object's own, so a namespace has at most what its ancestors have left.
package budget
