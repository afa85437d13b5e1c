/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A second use of the same program: id maps of a user namespace whose parent
 * is not the restorer's can only be written from inside that parent
 * (map_write, kernel/user_namespace.c), which a process with threads, such as
 * one of Go, cannot enter.
 *
 * Descriptor 3: the parent user namespace. 4: /proc/PID of a member of the
 * namespace. Arguments: uid map, gid map, setgroups; empty: not written.
 * The exit status is an errno, what failed is on descriptor 2.
 */
#include <linux/fcntl.h>
#include <linux/sched.h>

#include "stub.h"

#define FD_PARENT 3
#define FD_PROC 4

static long length(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	return n;
}

static long write_file(const char *name, const char *text)
{
	long fd, n = length(text);

	if (!n)
		return 0;
	fd = sys4(__NR_openat, FD_PROC, name, O_WRONLY, 0);
	if (fd >= 0)
		n = sys3(__NR_write, fd, text, n);
	else
		n = fd;
	if (n < 0)
		sys3(__NR_write, 2, name, length(name));
	sys1(__NR_close, fd);
	return n;
}

int write_maps(char **argv)
{
	/* gid_map after setgroups: "deny" is not possible later */
	static const struct { char name[12]; int arg; } files[] = {
		{ "uid_map", 0 }, { "setgroups", 2 }, { "gid_map", 1 },
	};
	long i, n;

	if (!argv[0] || !argv[1] || !argv[2])
		return EINVAL;
	n = sys2(__NR_setns, FD_PARENT, CLONE_NEWUSER);
	if (n < 0) {
		sys3(__NR_write, 2, "setns", 5);
		return -n;
	}
	for (i = 0; i < 3; i++) {
		n = write_file(files[i].name, argv[files[i].arg]);
		if (n < 0)
			return -n;
	}
	return 0;
}
