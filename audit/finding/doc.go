// SPDX-License-Identifier: Apache-2.0

// Package finding says what is wrong with a state, and with whom it rests.
//
// Contract: pure. Find looks at one state; a Tracker turns what it finds again
// and again into findings that are raised once, after they have lasted, and
// cleared once: a state lags behind the kernel by moments, and in such a moment
// much looks wrong.
package finding
