// SPDX-License-Identifier: Apache-2.0

package image

import "fmt"

// Every record starts with a head: its type and its length, which includes the
// head (struct ckpt_hdr). Types below 8000, and those of the end, are
// linux-cr's (enum in include/linux/checkpoint_hdr.h, 2011).
const (
	typeHeader     = 1
	typeHeaderArch = 2
	typeContainer  = 3
	typeBuffer     = 4
	typeString     = 5
	typeLSMInfo    = 7
	typePids       = 101
	typeTree       = 102

	firstOwn          = 8000
	typeTool          = 8001
	typeCut           = 8002
	typeInexact       = 8003 | required
	typeUserNamespace = 8004
	typeNamespace     = 8005
	typePidNamespace  = 8006
	typeTasks         = 8007
	typeReferences    = 8008
	typeOrigins       = 8009
	typeExitIDs       = 8010 | required
	typeFirstExitIDs  = 8010 // as it was for a day, in no release: refused
	typePackedTasks   = 8011 | required

	typeTail  = 9001
	typeError = 9999

	// required in a type of our own says that a reader that does not know
	// it must refuse the image; others it skips.
	required = 1 << 31
)

var recordNames = map[uint32]string{
	typeHeader: "HEADER", typeHeaderArch: "HEADER_ARCH", typeContainer: "CONTAINER",
	typeBuffer: "BUFFER", typeString: "STRING", typeLSMInfo: "LSM_INFO",
	typePids: "PIDS", typeTree: "TREE", typeTool: "TOOL", typeCut: "CUT",
	typeInexact: "INEXACT", typeUserNamespace: "USER_NAMESPACES",
	typeNamespace: "NAMESPACES", typePidNamespace: "PID_NAMESPACES",
	typeTasks: "TASKS", typeReferences: "REFERENCES", typeOrigins: "ORIGINS", typeExitIDs: "EXIT_IDS",
	typeFirstExitIDs: "EXIT_IDS", typePackedTasks: "PACKED_TASKS",
	typeTail: "TAIL", typeError: "ERROR",
}

// recordName names a record's type to a person.
func recordName(typ uint32) string {
	name, ok := recordNames[typ]
	if !ok {
		name = "unknown"
	}
	if typ&required != 0 {
		return fmt.Sprintf("%s (type %d, required)", name, typ&^required)
	}
	return fmt.Sprintf("%s (type %d)", name, typ)
}

const (
	headMagic = 0x00feed0cc0a2d200 // CHECKPOINT_MAGIC_HEAD, include/linux/magic.h of linux-cr
	tailMagic = 0x002d2a0cc0deef00 // CHECKPOINT_MAGIC_TAIL
	zstdMagic = 0xfd2fb528         // RFC 8878, 3.1.1

	revision    = 6 // CHECKPOINT_VERSION
	flagSubtree = 1 // CHECKPOINT_SUBTREE
)

// Sizes of records with their head, and of what is in them.
const (
	headSize      = 8
	headerSize    = 72 // struct ckpt_hdr_header
	pidsSize      = 24 // struct ckpt_hdr_pids
	treeSize      = 16 // struct ckpt_hdr_tree
	taskPidsSize  = 24 // struct ckpt_task_pids
	pidSize       = 8  // struct ckpt_pids, with one number
	cutSize       = 16
	namespaceSize = 32
	userSize      = 32
	extentSize    = 12
	taskSize      = 80
	kindSize      = 52 // of them, what tasks have in common
	packedGuess   = 12 // what a packed task mostly takes at most
	referenceSize = 20
	originSize    = 20
	departedSize  = originSize + 4
	exitIDsSize   = 20
	tailSize      = 24

	utsLen     = 65 // sizeof(new_utsname.release)
	commLen    = 16 // TASK_COMM_LEN
	lsmNameLen = 11 // CHECKPOINT_LSM_NAME_MAX + 1
	nsig       = 64
)

// Limits of ours.
const (
	maxTool    = 4096  // bytes of Producer.Tool
	maxReason  = 65535 // bytes of one Forest.Inexact
	maxMessage = 4000  // bytes of an aborted dump's message: the original's reader has a buffer of 4096
	maxSkipped = 4096  // bytes of a linux-cr record whose content is not looked at
)

// Flags in the records of our own.
const (
	cutWalked = 1 << 0

	userSetgroups = 1 << 0

	taskSubreaper    = 1 << 0
	taskStopReported = 1 << 1
	taskGroupExit    = 1 << 2
)

// pad is how many zero bytes bring n to a multiple of 8.
func pad(n uint64) int { return int(-n & 7) }

// archID is the original's number for a machine (enum CKPT_ARCH_*), or 0 if it
// had none. It is for the original's reader; ours goes by uname's machine.
func archID(machine string) uint16 {
	switch machine {
	case "i386", "i486", "i586", "i686":
		return 1
	case "x86_64":
		return 2
	case "s390x":
		return 3
	}
	return 0
}

// kernelVersion is the start of a release ("6.18.5-x") as three numbers, 0
// where there is none. It is for the original's reader.
func kernelVersion(release string) (v [3]uint16) {
	n := 0
	for i := range len(release) {
		switch c := release[i]; {
		case c >= '0' && c <= '9':
			v[n] = v[n]*10 + uint16(c-'0')
		case c == '.' && n < 2:
			n++
		default:
			return v
		}
	}
	return v
}
