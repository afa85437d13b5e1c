// SPDX-License-Identifier: Apache-2.0

package main

// overheadKey is the annotation of a command that says what it costs: the section
// OVERHEAD of its manual page.
const overheadKey = "overhead"

// overhead says what a command costs those beside it, as measured.
func overhead(text string) map[string]string { return map[string]string{overheadKey: text} }
