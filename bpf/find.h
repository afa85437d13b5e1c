/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * Finding the target before the first pass: the process with number target.nr
 * in the reader's namespace, by that namespace's idr. A kernel whose idr cannot
 * be walked is asked by the task iterator.
 */
#ifndef PIDGRAFT_FIND_H
#define PIDGRAFT_FIND_H

/* Whether pid object id is what is looked for; if so it is the target. */
__noinline int found(u64 id)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	u64 own = (u64)probe(reader, thread_pid);
	struct upid here = {}, there = {};
	u32 level = probe((struct pid *)own, level);

	if (!upid_is_as_expected()) {
		pass_of(0)->drift = 1;
		return 1;
	}
	if (probe_bytes(&here, sizeof(here), pid_upid(own, level)) ||
	    probe_bytes(&there, sizeof(there), pid_upid(id, level)) ||
	    there.ns != here.ns || there.nr != target.nr)
		return 0;
	target.reader_level = level;
	level = probe((struct pid *)id, level);
	if (probe_bytes(&there, sizeof(there), pid_upid(id, level)))
		return 0;
	target.self = (u64)probe(reader, group_leader);
	target.ns = (u64)there.ns;
	target.nr = there.nr;
	target.level = level;
	target.pid = id;
	return 1;
}

/* Gives a walk_status: WALK_MORE if target.pid is set now, WALK_DONE if there is
 * no such number. */
SEC("raw_tp")
int find(void *ctx)
{
	struct task_struct *reader = (void *)bpf_get_current_task();
	u64 own = (u64)probe(reader, thread_pid), status;
	u32 number = target.nr;
	struct upid here = {};

	if (!xa_node_is_as_expected() || !upid_is_as_expected() ||
	    probe_bytes(&here, sizeof(here), pid_upid(own, probe((struct pid *)own, level))))
		return WALK_CANNOT;
	status = find_leaf(0, (u64)here.ns, number);
	if (status_of(status) != WALK_MORE)
		return status_of(status);
	own = leaves[0].slots[number & 63];
	if (next_of(status) != number || !own)
		return WALK_DONE;
	if (is_internal(own))
		return WALK_AGAIN;
	return found(own) ? WALK_MORE : WALK_CANNOT;
}

#endif
