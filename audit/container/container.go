// SPDX-License-Identifier: Apache-2.0

package container

import "strings"

// Runtimes, as Name has them.
const (
	Docker     = "docker"
	Containerd = "containerd"
	CRIO       = "cri-o"
	Podman     = "podman"
	Systemd    = "systemd"
)

// Name says whose a cgroup is. Empty is what is not known.
type Name struct {
	Runtime string
	// ID is the container's, 64 hexadecimal digits.
	ID string
	// Pod is the uid that Kubernetes gave the pod, or Podman's id of it.
	Pod string
	// Unit is the systemd unit of what is in no container.
	Unit string
}

// Container is the id of the container or, outside of any, the systemd unit. No
// id reads as the name of a unit, which has a dot.
func (n Name) Container() string {
	if n.ID != "" {
		return n.ID
	}
	return n.Unit
}

// Parse reads /proc/PID/cgroup: a line for each hierarchy, as 0::PATH. In mixed
// set-ups not all of them say the same: a container counts for more than a unit,
// and the unified hierarchy (0) and systemd's for more than others.
func Parse(cgroups string) Name {
	var best Name
	most := 0
	for line := range strings.Lines(cgroups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		// The kernel says so of a cgroup that a zombie was in.
		n := ofPath(strings.TrimSuffix(parts[2], " (deleted)"))
		if w := n.weight(parts[0] == "0" || parts[1] == "name=systemd"); w > most {
			best, most = n, w
		}
	}
	return best
}

// weight is how much is known; 0: nothing.
func (n Name) weight(first bool) int {
	w := 0
	switch {
	case n.ID != "":
		w = 5
	case n.Pod != "":
		w = 3
	case n.Unit != "":
		w = 1
	}
	if w > 0 && first {
		w++
	}
	return w
}

// ofPath names a cgroup by its path. The innermost container counts: those of a
// node that is a container itself are below its own. Units within a container
// are its own affair.
func ofPath(path string) Name {
	var n Name
	parent := ""
	for c := range strings.SplitSeq(path, "/") {
		if pod := podOf(c); pod != "" {
			n = Name{Pod: pod}
		}
		if runtime, id := containerOf(c, parent); id != "" {
			n.Runtime, n.ID, n.Unit = runtime, id, ""
		} else if n.ID == "" && isUnit(c) {
			n.Runtime, n.Unit = Systemd, c
		}
		parent = c
	}
	return n
}

// podOf is the pod that a component is for: podUID and
// kubepods-burstable-podUID.slice, where systemd has _ for - in the uid, of the
// kubelet; machine-libpod_pod_ID.slice of Podman.
func podOf(c string) string {
	// containerd that is told systemd's names but does not use systemd:
	// kubepods-podUID.slice:cri-containerd:ID
	c, _, _ = strings.Cut(c, ":")
	slice, isSlice := strings.CutSuffix(c, ".slice")
	if !isSlice {
		uid, ok := strings.CutPrefix(c, "pod")
		if !ok || !isUID(uid) {
			return ""
		}
		return uid
	}
	if _, id, ok := strings.Cut(slice, "libpod_pod_"); ok && isID(id) {
		return id
	}
	i := strings.LastIndex(slice, "-pod")
	if i < 0 || !strings.Contains(slice[:i], "kubepods") {
		return ""
	}
	uid := strings.ReplaceAll(slice[i+len("-pod"):], "_", "-")
	if !isUID(uid) {
		return ""
	}
	return uid
}

// prefixes are what runtimes put before the id. conmon, which watches a
// container, is in a cgroup with its id and not in the container.
var prefixes = []struct{ prefix, runtime string }{
	{"docker-", Docker},
	{"cri-containerd-", Containerd},
	{"nerdctl-", Containerd},
	{"crio-", CRIO},
	{"libpod-payload-", Podman}, // --cgroups=split
	{"libpod-", Podman},
}

// parents are cgroups in which a bare id tells who made it.
var parents = map[string]string{
	"docker":  Docker,
	"k8s.io":  Containerd,
	"default": Containerd, // nerdctl's namespace
	"moby":    Docker,
}

// containerOf is the container that a component is for, and whose; the runtime
// may not be known.
func containerOf(c, parent string) (runtime, id string) {
	if slice, rest, ok := strings.Cut(c, ":"); ok && strings.HasSuffix(slice, ".slice") {
		c = strings.Replace(rest, ":", "-", 1)
	}
	c = strings.TrimSuffix(c, ".scope")
	if isID(c) {
		return parents[parent], c
	}
	for _, p := range prefixes {
		if id, ok := strings.CutPrefix(c, p.prefix); ok && isID(id) {
			return p.runtime, id
		}
	}
	return "", ""
}

// isID reports whether something is the id of a container: 256 bits.
func isID(s string) bool { return len(s) == 64 && isHex(s) }

// isUID reports whether something is the uid of a pod. Static pods have a digest
// of what they were made of.
func isUID(s string) bool {
	if len(s) == 32 {
		return isHex(s)
	}
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i : i+1]) {
				return false
			}
		}
	}
	return true
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isUnit reports whether something can be a systemd service or scope
// (systemd.unit(5)); slices are no more than places.
func isUnit(c string) bool {
	const longest = 255
	name, ok := strings.CutSuffix(c, ".service")
	if !ok {
		name, ok = strings.CutSuffix(c, ".scope")
	}
	if !ok || name == "" || len(c) > longest {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', strings.IndexByte(`:-_.\@`, b) >= 0:
		default:
			return false
		}
	}
	return true
}
