// SPDX-License-Identifier: Apache-2.0

package model

import "github.com/pidgraft/pidgraft/forest"

// Signals that the kernel treats by name (include/uapi/asm-generic/signal.h).
const (
	sigHup  = 1
	sigInt  = 2
	sigKill = 9
	sigChld = forest.SIGCHLD
	sigCont = 18
	sigStop = 19
	sigTstp = 20
	sigTtin = 21
	sigTtou = 22
)

func bit(sig int32) uint64 { return 1 << uint(sig-1) }

const (
	stopSignals = uint64(1<<(sigStop-1) | 1<<(sigTstp-1) | 1<<(sigTtin-1) | 1<<(sigTtou-1))
	// What a fault of the processor or of seccomp forces upon a task:
	// ILL, TRAP, BUS, FPE, SEGV, SYS.
	faults         = uint64(1<<(4-1) | 1<<(5-1) | 1<<(7-1) | 1<<(8-1) | 1<<(11-1) | 1<<(31-1))
	ignoredSignals = uint64(1<<(sigChld-1) | 1<<(sigCont-1) | 1<<(23-1) | 1<<(28-1)) // and URG, WINCH
)

// pendingSignal is a signal on its way. force: from the kernel or from an
// ancestor namespace, so that an init heeds SIGKILL and SIGSTOP.
type pendingSignal struct {
	p     *process
	sig   int32
	force bool
}

// groupSendSig sends sig to p; it takes effect when the call at hand is done.
func (k *Kernel) groupSendSig(p *process, sig int32, force bool) {
	k.signals.push(pendingSignal{p, sig, force})
}

// Kill sends sig to the process of target: rules 20, 22 and 23a (kill(2), or
// pidfd_send_signal for the outsider).
func (k *Kernel) Kill(actor, target TaskID, sig int32) Errno {
	cur, errno := k.actor(actor)
	if errno != 0 {
		return errno
	}
	t := k.task(target)
	if t == nil || t.state == released || t.pid.numberIn(cur.pid.ns) == 0 {
		return k.fail(ESRCH, "the actor sees no task %d", target)
	}
	if sig < 0 || sig > 64 {
		return k.fail(EINVAL, "signal %d", sig)
	}
	if !cur.mayKill(t, sig) {
		return k.fail(EPERM, "no capability to signal task %d", target)
	}
	if sig != 0 {
		k.groupSendSig(t.proc, sig, cur.pid.numberIn(t.pid.ns) == 0)
		k.settle()
	}
	return 0
}

// mayKill reports whether t may send sig to target (check_kill_permission,
// kill_ok_by_cred).
func (t *task) mayKill(target *task, sig int32) bool {
	if t.proc == target.proc || sig == sigCont && t.proc.session == target.proc.session {
		return true
	}
	for _, id := range []uint32{t.cred.uid, t.cred.euid} {
		if id == target.cred.uid || id == target.cred.other.SUID {
			return true
		}
	}
	return t.cred.nsCapable(target.cred.user)
}

// getSignal lets a signal take effect, with the default dispositions
// (prepare_signal, complete_signal and get_signal): rules 20 and 22.
func (k *Kernel) getSignal(s pendingSignal) {
	p, sig := s.p, s.sig
	if p.alive == 0 {
		return
	}
	switch {
	case sig == sigCont:
		p.pending &^= stopSignals
		p.setStopped(false, 0)
		k.takePending(p)
		return
	case bit(sig)&stopSignals != 0:
		p.pending &^= bit(sigCont)
	}
	kernelOnly := sig == sigKill || sig == sigStop
	switch {
	case p.blocked && !kernelOnly:
		p.pending |= bit(sig)
	case bit(sig)&(ignoredSignals|p.ignored) != 0:
	case p.unkillable && !(s.force && kernelOnly):
		// sig_task_ignored: an init has no default actions (rule 20)
	case sig == sigKill:
		k.doGroupExit(p, sigKill)
	case p.stopped:
		p.pending |= bit(sig)
	case bit(sig)&stopSignals != 0:
		k.doSignalStop(p, sig)
	default:
		k.doGroupExit(p, sig)
	}
}

// takePending lets what is pending for p take effect, as far as it can: what
// faults send before all others, then the lowest number (next_signal).
func (k *Kernel) takePending(p *process) {
	if p.blocked || p.stopped {
		return
	}
	for _, those := range []uint64{faults, ^uint64(0)} {
		for sig := int32(1); sig <= 64 && p.pending&those != 0; sig++ {
			if p.pending&those&bit(sig) != 0 {
				p.pending &^= bit(sig)
				k.groupSendSig(p, sig, false)
			}
		}
	}
}

// doSignalStop stops p; the terminal's stop signals do nothing in an orphaned
// group: rule 22 (get_signal, do_signal_stop).
func (k *Kernel) doSignalStop(p *process, sig int32) {
	if sig != sigStop && p.pgrp.orphaned(nil) {
		return
	}
	p.setStopped(true, sig)
}

// setStopped enters or leaves the group stop and keeps count in the group.
func (p *process) setStopped(stopped bool, sig int32) {
	if p.stopped == stopped {
		return
	}
	p.stopped, p.stopSignal, p.stopReported = stopped, sig, false
	if stopped {
		p.pgrp.stopped++
	} else {
		p.pgrp.stopped--
	}
}

// orphaned reports whether no member but ignored has a parent in another group
// of the same session (will_become_orphaned_pgrp).
func (o *pid) orphaned(ignored *process) bool {
	for p := o.group; p != nil; p = p.groupNext {
		if p == ignored || p.reapable() || p.parent == nil || p.parent.id == HostInit {
			continue
		}
		if parent := p.parent.proc; parent.pgrp != o && parent.session == p.session {
			return false
		}
	}
	return true
}

// killOrphanedPgrp sends SIGHUP and SIGCONT to p's group if it has a stopped
// member and is orphaned by p's end (father nil) or by p's adoption away from
// father: rule 22 (kill_orphaned_pgrp).
func (k *Kernel) killOrphanedPgrp(p *process, father *task) {
	o := p.pgrp
	if o.stopped == 0 {
		return
	}
	parent, ignored := p.parent, p
	if father != nil {
		parent, ignored = father, nil
	}
	if parent == nil || parent.proc.pgrp == o || parent.proc.session != p.session || !o.orphaned(ignored) {
		return
	}
	for _, sig := range []int32{sigHup, sigCont} {
		for m := o.group; m != nil; m = m.groupNext {
			k.groupSendSig(m, sig, true)
		}
	}
}
