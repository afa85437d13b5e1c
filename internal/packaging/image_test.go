// SPDX-License-Identifier: Apache-2.0

package packaging

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/pidgraft/pidgraft/internal/require"
)

// Forms of what an OCI image consists of, by the OCI image specification 1.0.
const (
	manifestForm = "application/vnd.oci.image.manifest.v1+json"
	configForm   = "application/vnd.oci.image.config.v1+json"
	layerForm    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

type descriptor struct {
	MediaType string
	Digest    string
	Size      int64
}

type imageConfig struct {
	Architecture, OS string
	Config           struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	}
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

// blob is what a descriptor in the image at layout stands for: of that form, size
// and sum.
func blob(t *testing.T, layout string, d descriptor, form string) []byte {
	t.Helper()
	sum, ok := strings.CutPrefix(d.Digest, "sha256:")
	text, err := os.ReadFile(filepath.Join(layout, "blobs/sha256", sum))
	if err != nil {
		t.Fatal(err)
	}
	is := sha256.Sum256(text)
	if !ok || d.MediaType != form || int64(len(text)) != d.Size || hex.EncodeToString(is[:]) != sum {
		t.Fatalf("%+v is %d bytes with the sum %x, wanted as %s", d, len(text), is, form)
	}
	return text
}

func parse(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// unpack lays the one layer of an image out in root, and returns the sum of the
// layer as it is before it is compressed.
func unpack(t *testing.T, layout string, layer descriptor, root string) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(string(blob(t, layout, layer, layerForm))))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	layerText := io.TeeReader(z, sum)
	for r := tar.NewReader(layerText); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(root, filepath.Clean("/"+h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(to, h.FileInfo().Mode().Perm())
		case tar.TypeReg:
			var text []byte
			if text, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(to, text, h.FileInfo().Mode().Perm())
			}
		default:
			err = fmt.Errorf("a file of type %c", h.Typeflag)
		}
		if err != nil {
			t.Fatalf("%s: %v", h.Name, err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
	}
	if _, err := io.Copy(io.Discard, layerText); err != nil {
		t.Fatal(err)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// inImage is what a program prints in a container of root: as podman runs it with
// --cap-drop=all --cap-add=CAPS, in its own or in this pid namespace.
func inImage(t *testing.T, root string, ownPids bool, caps []string, args ...string) string {
	t.Helper()
	type object = map[string]any
	namespaces := []object{{"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}}
	if ownPids {
		namespaces = append(namespaces, object{"type": "pid"})
	}
	spec, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process": object{
			"user": object{"uid": 0, "gid": 0}, "cwd": "/", "args": args, "env": []string{"PATH=/usr/bin"},
			"capabilities":    object{"bounding": caps, "effective": caps, "permitted": caps},
			"noNewPrivileges": true,
		},
		"root": object{"path": root, "readonly": true},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"}},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		},
		"linux": object{"namespaces": namespaces},
	})
	bundle := t.TempDir()
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "/", "runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, filepath.Base(root)+filepath.Base(bundle))
}

// The image that packaging/Containerfile defines: buildah makes it, of nothing but
// what is in the packages and with no network; its parts fit together, it is told
// what it is; and runc runs it. With two capabilities it sees the machine.
func TestImage(t *testing.T) {
	require.Root(t)
	require.Feature(t, require.Program("buildah", "buildah"))
	require.Feature(t, require.Program("runc", "runc"))
	stage := filepath.Join(packages(t), "linux_"+runtime.GOARCH)
	work := t.TempDir()
	storage := []string{"--storage-driver", "vfs", "--root", filepath.Join(work, "storage"), "--runroot", filepath.Join(work, "run")}
	layout := filepath.Join(work, "image")
	run(t, ".", "buildah", append(storage, "bud", "--isolation", "chroot", "--pull-never", "-f", "../../packaging/Containerfile",
		"--build-arg", "VERSION="+version, "-t", "pidgraft", stage)...)
	run(t, ".", "buildah", append(storage, "push", "pidgraft", "oci:"+layout)...)

	var index struct{ Manifests []descriptor }
	text, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	parse(t, text, &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("it has manifests %+v", index.Manifests)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	parse(t, blob(t, layout, index.Manifests[0], manifestForm), &manifest)
	var config imageConfig
	parse(t, blob(t, layout, manifest.Config, configForm), &config)
	if config.Architecture != runtime.GOARCH || config.OS != "linux" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/bin/pidgraft"}) {
		t.Errorf("it is %+v", config)
	}
	labels := maps.Clone(config.Config.Labels)
	maps.DeleteFunc(labels, func(name, _ string) bool { return !strings.HasPrefix(name, "org.opencontainers.image.") })
	if want := map[string]string{
		"org.opencontainers.image.title":       "pidgraft",
		"org.opencontainers.image.description": "dump process forests and rebuild them, pid for pid",
		"org.opencontainers.image.source":      "https://github.com/pidgraft/pidgraft",
		"org.opencontainers.image.licenses":    "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)",
		"org.opencontainers.image.version":     version,
	}; !maps.Equal(labels, want) {
		t.Errorf("its labels are %q", labels)
	}
	root := filepath.Join(work, "root")
	if len(manifest.Layers) != 1 || len(config.RootFS.DiffIDs) != 1 {
		t.Fatalf("it has layers %+v of %q", manifest.Layers, config.RootFS.DiffIDs)
	}
	if sum := unpack(t, layout, manifest.Layers[0], root); sum != config.RootFS.DiffIDs[0] {
		t.Errorf("its layer has the sum %s, not %s", sum, config.RootFS.DiffIDs[0])
	}
	for _, f := range []string{"LICENSE", "pidgraft.cdx.json", "schema/ps.v1.json"} {
		if _, err := os.Stat(filepath.Join(root, "usr/share/doc/pidgraft", f)); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	program := config.Config.Entrypoint[0]
	if out := inImage(t, root, true, nil, program, "version"); !strings.HasPrefix(out, "pidgraft v"+version+" ") {
		t.Errorf("version: %s", out)
	}
	// A neighbour, to be seen.
	neighbour := exec.Command("sleep", "1000")
	if err := neighbour.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = neighbour.Process.Kill()
		_ = neighbour.Wait()
	}()
	out := inImage(t, root, false, []string{"CAP_BPF", "CAP_PERFMON"}, program, "ps", "--columns", "process,state,comm", fmt.Sprint(neighbour.Process.Pid))
	if fields := strings.Fields(out); !slices.Equal(fields, []string{"PROCESS", "STATE", "COMM", fmt.Sprint(neighbour.Process.Pid), "live", "sleep"}) {
		t.Errorf("with two capabilities, ps: %s", out)
	}
}
