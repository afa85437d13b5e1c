// SPDX-License-Identifier: Apache-2.0

// Package view shows a forest to a person, as text (Tree, Table) or a picture
// (HTML, SVG, DOT), or to a program (JSON).
//
// Contract: pure; a valid forest goes in, text comes out, in time and space
// that grow with the forest. Whatever an untrusted process chose, its name
// above all, is escaped. Numbers are shown as chains, from the root namespace
// inwards: 20/1 is 20 there and 1 in the namespace below.
package view
