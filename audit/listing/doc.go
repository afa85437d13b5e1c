// SPDX-License-Identifier: Apache-2.0

// Package listing is every pid object of a state in rows, for a person (Table)
// or a program (JSON): who carries it, who uses it and as what.
//
// Contract: pure. A name that a process gave itself is escaped. Columns, members
// of the JSON form and what they are sorted by have the same names.
package listing
