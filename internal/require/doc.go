// SPDX-License-Identifier: Apache-2.0

// Package require is how a privileged test says what it needs of the machine, and
// the only way in which such a test may skip (TestOneWayToSkip holds that).
//
//	func TestSomething(t *testing.T) {
//		require.Root(t)
//		require.Feature(t, require.ProbeReads)
//		…
//	}
//
// A skip must not hide what is missing. So a test cannot skip because something
// did not work: it names a feature, and the feature says from which kernel on
// it is there, or which state of the machine (a kernel configuration, lockdown,
// a namespace, a policy) takes it away. Where it is missing and neither
// explains that, the test fails.
//
// What is printed begins with "needs", by which make vmtest knows the reason
// of a skip; one without a reason fails there.
package require
