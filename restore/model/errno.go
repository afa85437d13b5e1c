// SPDX-License-Identifier: Apache-2.0

package model

import "strconv"

// Errno is a Linux error number; 0 is success.
type Errno int32

// The errors that the modelled calls return (include/uapi/asm-generic).
const (
	EPERM  Errno = 1
	ESRCH  Errno = 3
	ECHILD Errno = 10
	EAGAIN Errno = 11 // a wait that would block, or no number left
	ENOMEM Errno = 12
	EACCES Errno = 13
	EEXIST Errno = 17
	EINVAL Errno = 22
	ENOSPC Errno = 28

	// ENOTRUN is no error of the kernel's: the actor has ended or is
	// stopped, so that it cannot make a call.
	ENOTRUN Errno = 4096
)

var errnoNames = map[Errno]string{
	0: "ok", EPERM: "EPERM", ESRCH: "ESRCH", ECHILD: "ECHILD", EAGAIN: "EAGAIN",
	ENOMEM: "ENOMEM", EACCES: "EACCES", EEXIST: "EEXIST", EINVAL: "EINVAL",
	ENOSPC: "ENOSPC", ENOTRUN: "not runnable",
}

func (e Errno) Error() string {
	if s, ok := errnoNames[e]; ok {
		return s
	}
	return "errno " + strconv.Itoa(int(e))
}

func (e Errno) String() string { return e.Error() }
