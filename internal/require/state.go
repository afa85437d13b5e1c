// SPDX-License-Identifier: Apache-2.0

package require

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"

	"github.com/pidgraft/pidgraft/internal/privilege"
)

// Guest is the environment variable that is set in guests of make vmtest.
// Nothing else runs there, the kernel's configuration is Debian's, and no
// policy but that of the guest is in force.
const Guest = "PIDGRAFT_GUEST"

// InGuest reports whether this is a guest of make vmtest.
func InGuest() bool { return os.Getenv(Guest) != "" }

// Lockdown is the state of a kernel that is locked down at least that far:
// "integrity" or "confidentiality", kernel_lockdown(7).
func Lockdown(level string) State {
	return State{
		Name: "kernel lockdown is " + level,
		Holds: func() bool {
			is := privilege.Lockdown()
			return is == level || level == "integrity" && is == "confidentiality"
		},
	}
}

// Without is the state of a kernel that was built without an option, CONFIG_…,
// as its own configuration says. Who does not show that has no excuse.
func Without(option string) State {
	return State{
		Name: "the kernel was built without " + option,
		Holds: func() bool {
			config, err := kernelConfig()
			return err == nil && !config[option]
		},
	}
}

// Elsewhere is a state of machines that are not guests of make vmtest, which
// have all that their kernel has: a policy that is not for the tests to change.
func Elsewhere(name string, holds func() bool) State {
	return State{Name: name, Holds: func() bool { return !InGuest() && holds() }}
}

// kernelConfig are the options of the running kernel that are y or m.
func kernelConfig() (map[string]bool, error) {
	file, err := os.Open("/proc/config.gz")
	if err != nil {
		plain, err := os.Open("/boot/config-" + release())
		if err != nil {
			return nil, err
		}
		defer plain.Close()
		return parseConfig(plain)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		return nil, err
	}
	return parseConfig(text)
}

func parseConfig(text io.Reader) (map[string]bool, error) {
	config := map[string]bool{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		if name, value, _ := strings.Cut(lines.Text(), "="); value == "y" || value == "m" {
			config[name] = true
		}
	}
	return config, lines.Err()
}
