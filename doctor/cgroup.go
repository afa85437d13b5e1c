// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/pidgraft/pidgraft/internal/privilege"
	"github.com/pidgraft/pidgraft/loader"
)

// cgroupProbes are about holding a target.
var cgroupProbes = []probe{
	{
		name: "cgroup-v2-freeze", title: "freeze by cgroup v2",
		capabilities: []privilege.Capability{unix.CAP_DAC_OVERRIDE}, since: "5.2", kconfig: []string{"CONFIG_CGROUPS"},
		try: tryFreezer(true),
	}, {
		name: "cgroup-v1-freezer", title: "freeze by the v1 freezer",
		capabilities: []privilege.Capability{unix.CAP_DAC_OVERRIDE}, kconfig: []string{"CONFIG_CGROUP_FREEZER"},
		try: tryFreezer(false),
	}, {
		name: "cgroup-kill", title: "kill all of a cgroup v2 at once (cgroup.kill)",
		needs: []string{"cgroup-v2-freeze"}, since: "5.14", try: tryCgroupKill,
	},
}

func tryFreezer(v2 bool) func(*Doctor, context.Context) (string, error) {
	return func(*Doctor, context.Context) (string, error) {
		mount, _, err := loader.TryFreezer(v2)
		if errors.Is(err, loader.ErrNoCgroup) {
			return "", &failure{Setting, "it is not mounted", "Mount it; one of the two versions is enough."}
		}
		if err != nil {
			return "", err
		}
		return "at " + mount, nil
	}
}

func tryCgroupKill(*Doctor, context.Context) (string, error) {
	_, kills, err := loader.TryFreezer(true)
	if err == nil && !kills {
		err = unix.ENOSYS
	}
	return "", err
}
