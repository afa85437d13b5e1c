// SPDX-License-Identifier: Apache-2.0

package container

import (
	"strings"
	"testing"
)

const (
	id     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	other  = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uid    = "3d1f8c9a-5b7e-4f60-8a21-c0ffee123456"
	digest = "00112233445566778899aabbccddeeff"
)

var uidAsSlice = strings.ReplaceAll(uid, "-", "_")

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, cgroups string
		want          Name
	}{
		{"nothing", "", Name{}},
		{"the root", "0::/\n", Name{}},
		{"no cgroups", "what is this\n::\n", Name{}},
		{"docker, systemd driver", "0::/system.slice/docker-" + id + ".scope\n", Name{Docker, id, "", ""}},
		{"docker, cgroupfs driver", "0::/docker/" + id + "\n", Name{Docker, id, "", ""}},
		{"docker, v1", "12:pids:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n", Name{Docker, id, "", ""}},
		{"docker, rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope\n", Name{Docker, id, "", ""}},
		{"docker in docker", "0::/docker/" + other + "/docker/" + id + "\n", Name{Docker, id, "", ""}},
		{"systemd in docker", "0::/docker/" + id + "/system.slice/cron.service\n", Name{Docker, id, "", ""}},
		{"nerdctl", "0::/system.slice/nerdctl-" + id + ".scope\n", Name{Containerd, id, "", ""}},
		{"nerdctl, cgroupfs", "0::/default/" + id + "\n", Name{Containerd, id, "", ""}},
		{"containerd for the kubelet, systemd driver",
			"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidAsSlice + ".slice/cri-containerd-" + id + ".scope\n",
			Name{Containerd, id, uid, ""}},
		{"guaranteed", "0::/kubepods.slice/kubepods-pod" + uidAsSlice + ".slice/cri-containerd-" + id + ".scope\n", Name{Containerd, id, uid, ""}},
		{"the kubelet, cgroupfs driver", "0::/kubepods/besteffort/pod" + uid + "/" + id + "\n", Name{"", id, uid, ""}},
		{"a static pod", "0::/kubepods/burstable/pod" + digest + "/" + id + "\n", Name{"", id, digest, ""}},
		{"the kubelet, v1",
			"11:memory:/kubepods/pod" + uid + "/" + id + "\n1:name=systemd:/kubepods/pod" + uid + "/" + id + "\n0::/\n",
			Name{"", id, uid, ""}},
		{"v1 with systemd in part",
			"3:cpuset:/kubepods/pod" + uid + "/" + id + "\n1:name=systemd:/system.slice/containerd.service\n",
			Name{"", id, uid, ""}},
		{"systemd's names without systemd",
			"0::/system.slice/containerd.service/kubepods-burstable-pod" + uidAsSlice + ".slice:cri-containerd:" + id + "\n",
			Name{Containerd, id, uid, ""}},
		{"CRI-O, systemd driver",
			"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidAsSlice + ".slice/crio-" + id + ".scope\n",
			Name{CRIO, id, uid, ""}},
		{"CRI-O, in its own cgroup within",
			"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + uidAsSlice + ".slice/crio-" + id + ".scope/container\n",
			Name{CRIO, id, uid, ""}},
		{"CRI-O, cgroupfs driver", "0::/kubepods/burstable/pod" + uid + "/crio-" + id + "\n", Name{CRIO, id, uid, ""}},
		{"CRI-O's conmon",
			"0::/kubepods.slice/kubepods-pod" + uidAsSlice + ".slice/crio-conmon-" + id + ".scope\n",
			Name{Systemd, "", uid, "crio-conmon-" + id + ".scope"}},
		{"docker for the kubelet",
			"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidAsSlice + ".slice/docker-" + id + ".scope\n",
			Name{Docker, id, uid, ""}},
		{"kind: a node that is a container",
			"0::/docker/" + other + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" +
				uidAsSlice + ".slice/cri-containerd-" + id + ".scope\n",
			Name{Containerd, id, uid, ""}},
		{"seen from a cgroup namespace", "0::/../../kubepods-besteffort-pod" + uidAsSlice + ".slice/cri-containerd-" + id + ".scope\n", Name{Containerd, id, uid, ""}},
		{"seen from beside", "0::/../cri-containerd-" + id + ".scope\n", Name{Containerd, id, "", ""}},
		{"docker in a pod", "0::/kubepods/pod" + uid + "/" + other + "/docker/" + id + "\n", Name{Docker, id, uid, ""}},
		{"podman", "0::/machine.slice/libpod-" + id + ".scope/container\n", Name{Podman, id, "", ""}},
		{"podman, rootless", "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope\n", Name{Podman, id, "", ""}},
		{"podman, cgroupfs", "0::/libpod_parent/libpod-" + id + "\n", Name{Podman, id, "", ""}},
		{"podman, split", "0::/system.slice/web.service/libpod-payload-" + id + "\n", Name{Podman, id, "", ""}},
		{"podman, a pod", "0::/machine.slice/machine-libpod_pod_" + other + ".slice/libpod-" + id + ".scope/container\n", Name{Podman, id, other, ""}},
		{"podman's conmon", "0::/machine.slice/libpod-conmon-" + id + ".scope\n", Name{Systemd, "", "", "libpod-conmon-" + id + ".scope"}},
		{"a zombie's", "0::/system.slice/docker-" + id + ".scope (deleted)\n", Name{Docker, id, "", ""}},
		{"a service", "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", Name{Systemd, "", "", "postgresql@15-main.service"}},
		{"a user's scope",
			`0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.mozilla\x2dfirefox-1.scope` + "\n",
			Name{Systemd, "", "", `app-org.mozilla\x2dfirefox-1.scope`}},
		{"nspawn", `0::/machine.slice/systemd-nspawn@web.service/payload` + "\n", Name{Systemd, "", "", "systemd-nspawn@web.service"}},
		{"a slice is a place", "0::/user.slice/user-1000.slice\n", Name{}},
		{"a pod's own", "0::/kubepods/burstable/pod" + uid + "\n", Name{"", "", uid, ""}},
		{"no id: too short", "0::/docker/0123456789ab\n", Name{}},
		{"no id: upper case", "0::/docker/" + strings.ToUpper(id) + "\n", Name{}},
		{"no uid", "0::/kubepods/podnothing/x\n", Name{}},
		{"podsomething.slice of others", "0::/my-pod" + digest + ".slice\n", Name{}},
		{"bytes", "0::/a\x1b[2J.service\n", Name{}},
		{"markup", "0::/<script>.service\n", Name{}},
		{"a colon in the path", "0::/a:b/docker-" + id + ".scope\n", Name{Docker, id, "", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Parse(test.cgroups); got != test.want {
				t.Errorf("%q\n got %+v\nwant %+v", test.cgroups, got, test.want)
			}
		})
	}
}

// Whatever a cgroup is called, what comes of it can be printed and is bounded.
func FuzzParse(f *testing.F) {
	f.Add("0::/kubepods.slice/kubepods-pod" + uidAsSlice + ".slice/cri-containerd-" + id + ".scope\n")
	f.Add("0::/x/kubepods-pod" + uidAsSlice + ".slice:cri-containerd:" + id)
	f.Add("1:name=systemd:/a.service\n0::/machine.slice/machine-libpod_pod_" + id + ".slice/libpod-" + other + ".scope/container")
	f.Add("0::/../pod" + uid + "/" + id)
	f.Fuzz(func(t *testing.T, cgroups string) {
		n := Parse(cgroups)
		if n.ID != "" && (!isID(n.ID) || n.Unit != "") || n.Pod != "" && !isID(n.Pod) && !isUID(n.Pod) || n.Unit != "" && n.Runtime != Systemd {
			t.Errorf("%q: %+v", cgroups, n)
		}
		for _, s := range []string{n.Runtime, n.ID, n.Pod, n.Unit, n.Container()} {
			if len(s) > 255 {
				t.Errorf("%q is long", s)
			}
			for _, r := range s {
				if r <= ' ' || r > '~' || strings.ContainsRune(`<>&"'/`, r) {
					t.Errorf("%q has %q", s, r)
				}
			}
			if s != "" && !strings.Contains(cgroups, s) && s != n.Runtime && s != n.Pod {
				t.Errorf("%q is not in %q", s, cgroups)
			}
		}
	})
}
