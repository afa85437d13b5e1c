// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"sync"
)

// kconfig is how the running kernel was built, as far as that is written down
// somewhere: option to value. nil: it is not.
var kconfig = sync.OnceValue(func() map[string]string {
	release := uname().Release
	for _, path := range []string{
		"/proc/config.gz", "/boot/config-" + release,
		"/usr/lib/modules/" + release + "/config", "/lib/modules/" + release + "/config",
	} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		defer f.Close()
		if !strings.HasSuffix(path, ".gz") {
			return parseKconfig(f)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			continue
		}
		return parseKconfig(z)
	}
	return nil
})

// parseKconfig reads lines CONFIG_X=value.
func parseKconfig(r io.Reader) map[string]string {
	options := map[string]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && strings.HasPrefix(name, "CONFIG_") {
			options[name] = value
		}
	}
	if len(options) == 0 {
		return nil
	}
	return options
}
