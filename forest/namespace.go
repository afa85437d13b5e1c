// SPDX-License-Identifier: Apache-2.0

package forest

// NamespaceState is where a pid namespace is in its life (kernel-rules 5).
type NamespaceState uint8

const (
	// Alive: its number 1 exists and is not being torn down.
	Alive NamespaceState = iota
	// Empty: unshared, but never had an init.
	Empty
	// InitExiting: its init waits in zap_pid_ns_processes.
	InitExiting
	// Dead: its init has ended (a zombie, or gone), but its pid object or
	// a task's pid_ns_for_children still refers to it.
	Dead
	// Spoilt: its first clone failed late; every later one is ENOMEM.
	Spoilt
)

var namespaceStates = [...]string{"alive", "empty", "init exiting", "dead", "spoilt"}

func (s NamespaceState) String() string { return name(namespaceStates[:], int(s)) }

// Namespace is one pid namespace of a forest. Forest.Namespaces[0] is the
// root namespace; parents come before their children.
type Namespace struct {
	Parent int            // index of the parent; -1 for the root namespace
	Level  int            // below the root namespace, which is level 0
	Owner  int            // index of the owning user namespace
	State  NamespaceState // where it is in its life
	// Cursor is the id cursor: the number after the one given out last
	// without being named (idr.idr_next; ns_last_pid is one less). 0 in a
	// Subtree if the namespace's init is not in it: others move it.
	Cursor uint32
	// PidMax is the namespace's own pid_max, or 0 where the kernel has only
	// one for the whole machine (before about 6.14) or, like Cursor, where
	// it is not the forest's.
	PidMax uint32
	// Inode is the nsfs inode on the machine of the dump. It names the
	// namespace to a person; it does not come back.
	Inode uint32
}

// Extent is one line of an id map, as /proc/PID/uid_map shows it from the
// parent user namespace.
type Extent struct {
	First  uint32 // first id inside
	Parent uint32 // the id it stands for in the parent user namespace
	Count  uint32 // how many ids
}

// UserNamespace is one user namespace of a forest. Forest.UserNamespaces[0] is
// the initial user namespace, whose maps are the identity and are not
// recorded; parents come before their children.
type UserNamespace struct {
	Parent    int      // index of the parent; -1 for the initial one
	OwnerUID  uint32   // uid of its creator, in the initial user namespace
	OwnerGID  uint32   // gid of its creator, in the initial user namespace
	UIDMap    []Extent // empty: never written
	GIDMap    []Extent // empty: never written
	Setgroups bool     // whether setgroups(2) is allowed ("allow")
	Inode     uint32   // nsfs inode at the dump; does not come back
}

func name(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return "unknown"
	}
	return names[i]
}
