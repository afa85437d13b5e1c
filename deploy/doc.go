// SPDX-License-Identifier: Apache-2.0

// Package deploy is how pidgraft audit is run: a unit of systemd, a DaemonSet of
// Kubernetes, rules and a dashboard for what Prometheus gets from it.
//
// Contract: no Go but the tests, which hold each file against what reads it.
// docs/audit.md says how they are used.
package deploy
