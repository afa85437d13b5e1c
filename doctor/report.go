// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"io"
)

// Schema names the JSON form of a Report: docs/schema/doctor.v1.json.
const Schema = "pidgraft.doctor.v1"

// Report is what a machine lets a process do.
type Report struct {
	Schema  string  `json:"schema"`
	Kernel  Kernel  `json:"kernel"`
	Process Process `json:"process"`
	Jobs    []Job   `json:"jobs"`
	Checks  []Check `json:"checks"`
}

// Kernel is what the kernel says of itself.
type Kernel struct {
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	Machine string `json:"machine"` // uname -m
	// Lockdown is none, integrity or confidentiality; "" if unknown.
	Lockdown string `json:"lockdown"`
	// LSMs are the active security modules; none if unknown.
	LSMs []string `json:"lsms"`
}

// Process is the place of the process that asks.
type Process struct {
	UID                  int      `json:"uid"` // effective
	Capabilities         []string `json:"capabilities"`
	InitialUserNamespace bool     `json:"initial_user_namespace"`
	InitialPidNamespace  bool     `json:"initial_pid_namespace"`
	SeccompFilter        bool     `json:"seccomp_filter"`
	NoNewPrivs           bool     `json:"no_new_privs"`
}

// Job is something that pidgraft is for.
type Job struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Can   bool   `json:"can"`
	// Missing are the names of the checks that stand against it.
	Missing []string `json:"missing"`
}

// State is how a check came out.
type State string

const (
	Yes     State = "yes"
	No      State = "no"
	Untried State = "untried" // what it builds on is missing already
)

// Reason sorts the causes for which something is missing.
type Reason string

const (
	Capability    Reason = "capability"     // not held
	UserNamespace Reason = "user namespace" // held, but not where it counts
	Lockdown      Reason = "lockdown"
	Kconfig       Reason = "kconfig" // the kernel was built without it
	KernelTooOld  Reason = "kernel too old"
	Seccomp       Reason = "seccomp"     // a system call filter, as containers have
	Setting       Reason = "setting"     // a sysctl, a limit, a mount
	Refused       Reason = "refused"     // by the kernel, for none of these reasons
	Dependency    Reason = "needs other" // untried
)

// Check is one thing that a machine has or lacks.
type Check struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	State State  `json:"state"`
	// Detail is what was seen, in a few words.
	Detail string `json:"detail"`
	// Reason and Remedy are of what is missing: why, and what to do about it
	// in a sentence.
	Reason Reason `json:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Job finds a job by its name.
func (r *Report) Job(name string) *Job {
	for i := range r.Jobs {
		if r.Jobs[i].Name == name {
			return &r.Jobs[i]
		}
	}
	return nil
}

// JSON writes r.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}
