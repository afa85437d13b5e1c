// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/privilege"
)

func uname() Kernel {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return Kernel{}
	}
	return Kernel{
		Release: unix.ByteSliceToString(u.Release[:]),
		Version: unix.ByteSliceToString(u.Version[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
	}
}

func theKernel() Kernel {
	k := uname()
	k.Lockdown = privilege.Lockdown()
	k.LSMs = []string{}
	if text, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		k.LSMs = strings.Split(strings.TrimSpace(string(text)), ",")
	}
	return k
}

func theProcess() Process {
	p := Process{UID: os.Geteuid(), Capabilities: []string{}, SeccompFilter: privilege.Filtered(), NoNewPrivs: privilege.NoNewPrivs()}
	for _, c := range privilege.Effective().List() {
		p.Capabilities = append(p.Capabilities, c.String())
	}
	// What cannot be seen is not what is hoped for.
	p.InitialUserNamespace, _ = privilege.InitialUserNamespace()
	p.InitialPidNamespace, _ = privilege.InitialPidNamespace()
	return p
}

// atLeast reports whether the running kernel is not older than one of
// "major.minor". It is for words only: stable trees backport.
func atLeast(version string) bool {
	var major, minor, wantMajor, wantMinor int
	if n, _ := fmt.Sscanf(uname().Release, "%d.%d", &major, &minor); n != 2 {
		return false
	}
	if n, _ := fmt.Sscanf(version, "%d.%d", &wantMajor, &wantMinor); n != 2 {
		return false
	}
	return major > wantMajor || major == wantMajor && minor >= wantMinor
}
