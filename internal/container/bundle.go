// SPDX-License-Identifier: Apache-2.0

package container

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// applets are the busybox commands that scripts may use.
var applets = []string{"sh", "sleep", "setsid", "cat", "true", "nice", "kill", "mkdir", "ps"}

// makeBundle lays out an OCI bundle in dir: busybox for its root, the host's
// /usr for bubblewrap, and script as what its first process runs.
func makeBundle(dir, script string) error {
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "usr", "proc", "dev", "sys", "tmp", "newroot"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	// On a merged /usr the loader is found through these.
	for _, d := range []string{"lib", "lib64"} {
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), text, 0o755); err != nil {
		return err
	}
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "script"), []byte(script), 0o755); err != nil {
		return err
	}
	spec, err := json.MarshalIndent(config(), "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), spec, 0o644)
}

type object = map[string]any

// config is what `runc spec` gives but for rlimits and resources, which a root
// without CAP_SYS_RESOURCE or without writable cgroups cannot set, and for
// masked paths: they would keep a sandbox inside from mounting its /proc.
func config() object {
	// What Docker gives, with which bubblewrap can map root, and what a Docker
	// in it needs.
	caps := []string{
		"CAP_SYS_ADMIN", "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
		"CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
		"CAP_SETUID", "CAP_SYS_CHROOT",
	}
	return object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": 0, "gid": 0},
			"args": []string{"/bin/sh", "/script"},
			"env":  []string{"PATH=/bin:/usr/bin"},
			"cwd":  "/",
			"capabilities": object{
				"bounding": caps, "effective": caps, "permitted": caps,
			},
			"noNewPrivileges": true,
		},
		"root":     object{"path": "rootfs", "readonly": true},
		"hostname": "pidgraft",
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
			{"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
			{"destination": "/usr", "type": "bind", "source": "/usr", "options": []string{"rbind", "ro"}},
		},
		"linux": object{"namespaces": []object{
			{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
		}},
	}
}

// Missing lists the programs that are not installed here, with the Debian
// packages that have them.
func Missing() []string {
	var missing []string
	for program, pkg := range map[string]string{"runc": "runc", "bwrap": "bubblewrap", "busybox": "busybox-static"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", program, pkg))
		}
	}
	return missing
}

// Two ways of bubblewrap to make a pid namespace: owned by a new user
// namespace, as for whoever is not root, or by the one that is there.
const (
	rootless = "bwrap --unshare-user --unshare-pid"
	rootful  = "bwrap --cap-add CAP_SYS_ADMIN --unshare-pid"
)

// sandbox runs a command in bubblewrap.
func sandbox(bwrap, command string) string {
	return bwrap + " --bind / / --dev /dev --proc /proc sh -c " + quote(command)
}

// nested does so within a rootless sandbox, where another /proc may not be
// mounted, nor devices be made.
func nested(command string) string {
	return rootless + " --dev-bind / / sh -c " + quote(command)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
