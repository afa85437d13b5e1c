/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

/*
 * The kernel as pidgraft sees it: only the types and fields that are read, and
 * every difference between kernels, from 5.10 to 7.x. Nothing outside this file
 * knows that there is more than one kernel.
 *
 * Fields are found by name when the programs are loaded (CO-RE), so order and
 * offsets here mean nothing. What is decided here is decided by whether a type,
 * field or helper exists, never by a version: stable trees backport.
 */
#ifndef PIDGRAFT_KERNEL_H
#define PIDGRAFT_KERNEL_H

/* No header of the machine that compiles is used, so that amd64 and arm64
 * make the same object. These are what libbpf's headers expect to exist. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;

#define NULL ((void *)0)

/* linux/sched.h, linux/sched/jobctl.h: the same since before 5.10. */
enum {
	PF_EXITING = 0x4,
	PF_KTHREAD = 0x200000,
	JOBCTL_STOP_SIGMASK = 0xffff,
};

/* uapi/linux/bpf.h: the few values that are used. */
enum {
	BPF_ANY = 0,
	BPF_RB_NO_WAKEUP = 1,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

typedef struct {
	u32 val;
} kuid_t;

typedef struct {
	u32 val;
} kgid_t;

struct ns_common {
	u32 inum;
};

struct xarray {
	void *xa_head;
};

struct idr {
	struct xarray idr_rt;
	u32 idr_next;
};

struct xa_node {
	u8 shift;
	void *slots[64];
};

enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
	PIDTYPE_PGID,
	PIDTYPE_SID,
	PIDTYPE_MAX,
};

struct pid_namespace;

struct upid {
	s32 nr;
	struct pid_namespace *ns;
};

/* numbers has one element on 5.10 (a trailing [1] that is allocated longer)
 * and none later, also in late 6.1 stable. The verifier bounds direct loads by
 * the declared size, so numbers[] is only ever probed. */
struct pid {
	u32 level;
	struct hlist_head tasks[PIDTYPE_MAX];
	struct upid numbers[];
};

struct uid_gid_extent {
	u32 first;
	u32 lower_first;
	u32 count;
};

/* Extents are inline up to five (UID_GID_MAP_MAX_BASE_EXTENTS) and in an array
 * of their own beyond. nr_extents moved between the kernels (before the union,
 * then into it beside extent); its name did not. */
struct uid_gid_map {
	u32 nr_extents;
	union {
		struct uid_gid_extent extent[5];
		struct uid_gid_extent *forward;
	};
};

struct user_namespace {
	struct uid_gid_map uid_map;
	struct uid_gid_map gid_map;
	struct user_namespace *parent;
	s32 level;
	kuid_t owner;
	kgid_t group;
	struct ns_common ns;
	unsigned long flags;
};

struct task_struct;

struct pid_namespace {
	struct idr idr;
	u32 pid_allocated;
	struct task_struct *child_reaper;
	u32 level;
	s32 pid_max;
	struct pid_namespace *parent;
	struct user_namespace *user_ns;
	struct ns_common ns;
};

struct nsproxy {
	struct pid_namespace *pid_ns_for_children;
};

struct cred {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	struct user_namespace *user_ns;
};

/* Session and foreground group are in ctrl since 5.15 or so. */
struct tty_struct {
	char name[64];
	struct {
		struct pid *pgrp;
		struct pid *session;
	} ctrl;
};

struct tty_struct___flat {
	struct pid *pgrp;
	struct pid *session;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
	void *i_private;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct qstr d_name;
};

struct path {
	struct dentry *dentry;
};

struct fown_struct {
	struct pid *pid;
	enum pid_type pid_type;
};

struct file {
	struct inode *f_inode;
	struct path f_path;
	void *private_data;
};

/* In the file itself to 6.11, allocated on first use since. */
struct file___owner_inside {
	struct fown_struct f_owner;
};

struct file___owner_apart {
	struct fown_struct *f_owner;
};

struct signal_struct {
	s32 nr_threads;
	struct list_head thread_head;
	s32 group_exit_code;
	u32 flags;
	u32 is_child_subreaper : 1;
	struct pid *pids[PIDTYPE_MAX];
	struct tty_struct *tty;
};

struct task_struct {
	u32 flags;
	u32 ptrace;
	s32 exit_state;
	s32 exit_code;
	s32 exit_signal;
	s32 pdeath_signal;
	unsigned long jobctl;
	struct task_struct *real_parent;
	struct list_head children;
	struct list_head sibling;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[PIDTYPE_MAX];
	struct list_head thread_node;
	u64 start_boottime;
	const struct cred *real_cred;
	char comm[16];
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
};

/* Each architecture names the number of the system call in its own way, and
 * only its own exists in its kernel. */
struct pt_regs___amd64 {
	unsigned long orig_ax;
};

struct pt_regs___arm64 {
	s32 syscallno;
};

struct bpf_iter_meta;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/*
 * Reading.
 *
 * Everything goes through probe_bytes and what is made of it here, and nothing
 * else, so that there is one place to change where probing is forbidden
 * (lockdown=confidentiality). Plain C would do for a pointer whose type the
 * verifier knows (the task of an iterator, and what hangs off it); but for each
 * one that is loaded through such a pointer the verifier of 6.2 and later
 * searches all of the kernel's BTF by name, four times over
 * (btf_nested_type_is_trusted): together 10 ms at load, more than a pass over
 * 10,000 tasks takes.
 *
 * A probe of an address that is gone gives zeros: whoever reads without locks
 * must compare what he read anyway.
 */
#define probe(ptr, ...)                                                       \
	({                                                                    \
		/* Evaluated apart, or its own fields would be relocated too. */ \
		typeof(ptr) __p = (ptr);                                      \
		BPF_CORE_READ(__p, __VA_ARGS__);                                    \
	})

#ifdef LOCKED_DOWN
/*
 * Lockdown of confidentiality refuses bpf_probe_read_kernel: the second object
 * is compiled without it. A pointer cast by bpf_rdonly_cast (6.2) may be loaded
 * through, and a fault gives zero, too; the verifier wants a struct for that,
 * at constant offsets. So any address is cast to one that begins with 64 bits
 * that are no pointer, and all is read in words.
 */
struct timespec64 {
	s64 tv_sec;
	long tv_nsec;
};

extern void *bpf_rdonly_cast(const void *address, u32 type) __ksym;

static __always_inline void *words(const void *address)
{
	return bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct timespec64));
}

#define READ_WORD(type)                                                       \
	({                                                                    \
		type __word = *(type *)words(src + i);                        \
		__builtin_memcpy(dst + i, &__word, sizeof(type));             \
		i += sizeof(type);                                            \
	})

static __always_inline long read_words(void *dst, u64 size, const void *src)
{
	u64 i = 0;

	while (i + sizeof(u64) <= size)
		READ_WORD(u64);
	if (size & sizeof(u32))
		READ_WORD(u32);
	if (size & sizeof(u16))
		READ_WORD(u16);
	if (size & sizeof(u8))
		READ_WORD(u8);
	return 0;
}

/* Also in what libbpf's headers make of BPF_CORE_READ. */
#define bpf_probe_read_kernel(dst, size, src) read_words(dst, size, src)
#endif

static __always_inline long probe_bytes(void *dst, u64 size, u64 src)
{
	return bpf_probe_read_kernel(dst, size, (void *)src);
}

/*
 * Neighbours are read together: a probe costs as much as a hundred bytes, and
 * most of what is wanted of a task lies within three hundred. VIEW copies size
 * bytes of an object from a field on, to where there are VIEW_SIZE; VIEWED takes
 * a field out of the copy, or probes it where a kernel has it elsewhere. Offsets
 * are constants once the program is loaded, so the verifier sees one of the two.
 */
#define VIEW_SIZE 304

struct view {
	u8 *bytes;
	u64 object;
	u64 start; /* offset in the object */
	u64 size;
};

static __always_inline struct view look(u8 *bytes, u64 object, u64 offset, u64 size)
{
	struct view v = { .bytes = bytes, .object = object, .start = offset & ~7ULL, .size = size };

	probe_bytes(bytes, size, object + v.start);
	return v;
}

static __always_inline void viewed(void *dst, u64 size, struct view v, u64 offset)
{
	u64 at = offset - v.start;

	if (at <= v.size - size)
		__builtin_memcpy(dst, v.bytes + at, size);
	else
		probe_bytes(dst, size, v.object + offset);
}

#define VIEW(bytes, type, object, first, size) \
	look(bytes, (u64)(object), bpf_core_field_offset(type, first), size)

#define VIEWED_INTO(dst, v, type, field) \
	viewed(dst, sizeof(*(dst)), v, bpf_core_field_offset(type, field))

#define VIEWED(v, type, field)                                                \
	({                                                                    \
		typeof(((type *)NULL)->field) __value;                        \
		VIEWED_INTO(&__value, v, type, field);                        \
		__value;                                                      \
	})

/* The address of a field, without reading anything. */
#define address(ptr, field) ((u64)__builtin_preserve_access_index(&(ptr)->field))

/* The address of numbers[level] of a struct pid. */
static __always_inline u64 pid_upid(u64 pid, u64 level)
{
	return pid + bpf_core_field_offset(struct pid, numbers) +
	       level * sizeof(struct upid);
}

/* The task whose pid_links[PIDTYPE_PID] is at this address. */
static __always_inline u64 task_of_link(u64 link)
{
	return link - bpf_core_field_offset(struct task_struct, pid_links[PIDTYPE_PID]);
}

/* A bit to 7.2, a bool by 7.3: the bitfield reader serves both. */
static __always_inline bool signal_subreaper(struct signal_struct *s)
{
	return BPF_CORE_READ_BITFIELD_PROBED(s, is_child_subreaper);
}

/* A member of the namespace since about 6.14, one for the machine before. */
static __always_inline u32 namespace_pid_max(struct pid_namespace *ns)
{
	if (bpf_core_field_exists(ns->pid_max))
		return probe(ns, pid_max);
	return 0;
}

static __always_inline u64 terminal_session(struct tty_struct *tty)
{
	struct tty_struct___flat *flat = (void *)tty;

	if (bpf_core_field_exists(flat->session))
		return (u64)probe(flat, session);
	return (u64)probe(tty, ctrl.session);
}

static __always_inline u64 terminal_group(struct tty_struct *tty)
{
	struct tty_struct___flat *flat = (void *)tty;

	if (bpf_core_field_exists(flat->pgrp))
		return (u64)probe(flat, pgrp);
	return (u64)probe(tty, ctrl.pgrp);
}

/* Of a file without an owner that was ever set, it may be NULL. */
static __always_inline struct fown_struct *file_owner(struct file *file)
{
	struct file___owner_apart *apart = (void *)file;

	if (bpf_core_field_exists(apart->f_owner))
		return probe(apart, f_owner);
	return (void *)address((struct file___owner_inside *)file, f_owner);
}

#define PID_FS_MAGIC 0x50494446 /* uapi/linux/magic.h */
#define ANON_INODE_FS_MAGIC 0x09041934

/*
 * The pid object that a pidfd is of, or 0 for any other file. Since 6.9 pidfds
 * are files of a file system of their own, whose inodes know the object; before,
 * an anonymous inode serves them and others, and the name tells, which no process
 * can choose there.
 */
static __always_inline u64 pidfd_pid(struct file *file)
{
	struct inode *inode = probe(file, f_inode);
	u64 magic = probe(inode, i_sb, s_magic);
	char name[8] = {};

	if (magic == PID_FS_MAGIC)
		return (u64)probe(inode, i_private);
	if (magic != ANON_INODE_FS_MAGIC)
		return 0;
	probe_bytes(name, sizeof(name), (u64)probe(file, f_path.dentry, d_name.name));
	if (__builtin_memcmp(name, "[pidfd]", sizeof(name)))
		return 0;
	return (u64)probe(file, private_data);
}

/* upid is copied whole, as {s32 nr; u64 ns}, many at a time. */
static __always_inline bool upid_is_as_expected(void)
{
	return bpf_core_type_size(struct upid) == 16 &&
	       bpf_core_field_offset(struct upid, nr) == 0 &&
	       bpf_core_field_offset(struct upid, ns) == 8;
}

/* 16 slots to a node with CONFIG_BASE_SMALL; the walk knows 64. */
static __always_inline bool xa_node_is_as_expected(void)
{
	return bpf_core_field_size(((struct xa_node *)NULL)->slots) == 64 * sizeof(void *);
}

/* The number of the system call that a register set belongs to, or -1. */
static __always_inline s64 syscall_number(u64 regs)
{
	struct pt_regs___amd64 *amd64 = (void *)regs;
	struct pt_regs___arm64 *arm64 = (void *)regs;

	if (bpf_core_field_exists(amd64->orig_ax))
		return probe(amd64, orig_ax);
	if (bpf_core_field_exists(arm64->syscallno))
		return probe(arm64, syscallno);
	return -1;
}

#endif
