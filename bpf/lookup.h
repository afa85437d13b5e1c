/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * From a number to its task, as find_task_by_pid_ns does it: the namespace's
 * idr, then the pid object's list. Called under RCU.
 */
#ifndef PIDGRAFT_LOOKUP_H
#define PIDGRAFT_LOOKUP_H

/* Levels of a tree of 32-bit indices with 6 bits each. */
#define LOOKUP_LEVELS 6

/* The pid object that number nr of namespace ns is, or 0. */
static __always_inline u64 find_pid(u64 ns, u32 nr)
{
	u64 entry = (u64)probe((struct pid_namespace *)ns, idr.idr_rt.xa_head);
	struct upid upid = {};

	if (!xa_node_is_as_expected() || !upid_is_as_expected())
		return 0;
	for (int i = 0; i < LOOKUP_LEVELS; i++) {
		/* A node has the low bits 10 and is above 4096 (xa_is_node). */
		u64 node = entry - 2, shift, slot;

		if ((entry & 3) != 2 || entry <= 4096)
			return 0;
		shift = probe((struct xa_node *)node, shift);
		if (shift > 30 || (i == 0 && ((u64)nr >> shift) >= 64))
			return 0;
		slot = address((struct xa_node *)node, slots) + (nr >> shift & 63) * sizeof(entry);
		if (probe_bytes(&entry, sizeof(entry), slot))
			return 0;
		if (shift == 0)
			break;
	}
	if (!entry || entry & 3)
		return 0;
	if (probe_bytes(&upid, sizeof(upid), pid_upid(entry, probe((struct pid *)entry, level))))
		return 0;
	return entry;
}

/* The task that carries a pid object as its own number, or 0. */
static __always_inline u64 pid_carrier(u64 pid)
{
	u64 first = (u64)probe((struct pid *)pid, tasks[PIDTYPE_PID].first);

	return first ? task_of_link(first) : 0;
}

#endif
