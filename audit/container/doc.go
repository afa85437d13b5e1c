// SPDX-License-Identifier: Apache-2.0

// Package container names pid namespaces after the containers whose they are, by
// the cgroups that their processes are in.
//
// Contract: Parse knows how Docker, containerd, CRI-O, Podman, the kubelet and
// systemd name cgroups, of both versions, and has nothing but text to do with.
// What it gives is printable, but only as true as the names of cgroups: who may
// make a cgroup may name it after a container. Names keeps what has been found
// out; reading is its caller's, and may take its time.
package container
