// SPDX-License-Identifier: Apache-2.0

// Package overview is what there is and what is wrong at one moment, as plain data
// that does not change: for those who look at an audit from beside it, as metrics
// and the page do.
//
// Contract: a Maker is called by the goroutine that the auditor runs in; what it
// makes is anybody's. How large that is, is bounded, and what was left out is
// counted. Names that processes give themselves are in it as they are.
package overview
