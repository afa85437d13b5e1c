// SPDX-License-Identifier: Apache-2.0

// Package packaging is the test of the packages: built, installed and removed on a
// Debian machine, as root.
package packaging
