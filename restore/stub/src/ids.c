/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes of identity. Each one resets what belongs to the memory or the
 * thread behind it (commit_creds, kernel/cred.c): dumpable, which all sharers
 * of the memory have in common, and the parent-death signal. Both are put
 * back at once.
 */
#include <linux/prctl.h>
#include <linux/securebits.h>

#include "stub.h"

static long after_change(u32 self, s32 pdeath)
{
	long error = undumpable();

	if (error < 0)
		return error;
	if (self == PLAN->committer && load(&PLAN->commit) == COMMIT_NONE) {
		arm(self);
		return 0;
	}
	if (!pdeath)
		return 0;
	return sys2(__NR_prctl, PR_SET_PDEATHSIG, pdeath);
}

/* Lets changes of the uid leave the capabilities alone; says how it was. */
static long keep_caps(void)
{
	long error, was = sys1(__NR_prctl, PR_GET_SECUREBITS);

	if (was < 0)
		return was;
	error = sys2(__NR_prctl, PR_SET_SECUREBITS,
		     was | SECBIT_NO_SETUID_FIXUP);
	return error < 0 ? error : was;
}

/*
 * The id for files follows the effective one, so it is set after it. That call
 * only says what it was: a refusal shows in another one, of an id that none is.
 */
static noinline long set_four(long nr, long nr_fs, const u32 *id)
{
	long error = sys3(nr, id[0], id[1], id[2]);

	if (error < 0 || id[3] == id[1])
		return error;
	sys1(nr_fs, id[3]);
	return (u32)sys1(nr_fs, -1) == id[3] ? 0 : -EPERM;
}

long set_ids(u32 self, const struct ids *ids, int keep)
{
	s32 pdeath = 0;
	long error, bits = 0;

	error = sys2(__NR_prctl, PR_GET_PDEATHSIG, &pdeath);
	if (error < 0)
		return error;
	if (keep)
		bits = keep_caps();
	if (bits < 0)
		return bits;
	error = set_four(__NR_setresgid, __NR_setfsgid, &ids->gid);
	if (error < 0)
		return error;
	error = set_four(__NR_setresuid, __NR_setfsuid, &ids->uid);
	if (error < 0)
		return error;
	if (keep)
		error = sys2(__NR_prctl, PR_SET_SECUREBITS, bits);
	if (error < 0)
		return error;
	return after_change(self, pdeath);
}

/*
 * A user namespace is owned by the effective ids of its creator. They are
 * changed for the creation only, and without loss of capabilities; the saved ids
 * with them, which a child keeps. The planner knows that (ids.go).
 */
long become_owner(struct owner *was, const struct ids *ids)
{
	long error;

	error = sys2(__NR_prctl, PR_GET_PDEATHSIG, &was->pdeath);
	if (error < 0)
		return error;
	was->euid = sys0(__NR_geteuid);
	was->egid = sys0(__NR_getegid);
	was->changed = was->euid != ids->uid || was->egid != ids->gid;
	if (!was->changed)
		return 0;
	was->securebits = keep_caps();
	if (was->securebits < 0)
		return was->securebits;
	error = sys3(__NR_setresgid, -1, ids->gid, ids->gid);
	if (error < 0)
		return error;
	error = sys3(__NR_setresuid, -1, ids->uid, ids->uid);
	if (error < 0)
		return error;
	return undumpable();
}

long leave_owner(u32 self, const struct owner *was)
{
	long error;

	if (!was->changed)
		return 0;
	error = sys3(__NR_setresuid, -1, was->euid, was->euid);
	if (error < 0)
		return error;
	error = sys3(__NR_setresgid, -1, was->egid, was->egid);
	if (error < 0)
		return error;
	error = sys2(__NR_prctl, PR_SET_SECUREBITS, was->securebits);
	if (error < 0)
		return error;
	return after_change(self, was->pdeath);
}
