// SPDX-License-Identifier: Apache-2.0

// Package leak fails the tests of a package that leave something behind in the
// machine. It goes around a package's tests:
//
//	func TestMain(m *testing.M) { os.Exit(leak.Checked(m, testforest.Close).Run()) }
//
// What is looked for, by comparison with what was there before: open
// descriptors of the test process, memfds that it has mapped, and processes
// below it, for it is a subreaper meanwhile. In a guest of make vmtest, where
// nothing else runs, also what is the machine's: processes anywhere, BPF
// programs, maps and links, pid namespaces, mounts and cgroups. Elsewhere those
// cannot be told from what others do at the same time.
//
// What ends in its own time (a finalizer, a coordinator that takes leave) has
// some seconds to do so. Whoever is found is named, and killed.
package leak
