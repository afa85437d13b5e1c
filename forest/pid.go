// SPDX-License-Identifier: Apache-2.0

package forest

// MaxDepth is the deepest a pid object can be below any namespace: the kernel
// allows levels 0 to 32 (MAX_PID_NS_LEVEL, kernel/pid_namespace.c).
const MaxDepth = 32

// Pid is one pid object (struct pid).
type Pid struct {
	// Namespace is the index of the object's own, innermost namespace.
	Namespace int
	// Numbers has one number per level, the root namespace's first; its
	// length is the object's depth + 1.
	Numbers []int32
}

// Depth is the object's level below the root namespace.
func (p *Pid) Depth() int { return len(p.Numbers) - 1 }

// Number is the number in the object's own namespace.
func (p *Pid) Number() int32 { return p.Numbers[len(p.Numbers)-1] }
