/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * kept.bpf.h - what rules made of subjects and files before, and events that nothing can come of
 *
 * What the rules' conditions on the subject alone come to is kept at the process (struct subject_cache),
 * those on the file alone at the inode (struct file_cache), each with all that it depends on. So a program
 * that opens files again walks to no path and compares no text. A kept vector counts only if
 *
 *   - it is of the set in force (its generation: the epoch of this cache),
 *   - of the same user, group, control group, program and marks; of the same owner and marks,
 *   - of a file by the same name and mount, that has one name only and was not changed (a further name, a
 *     name that went: both change the inode's time), and since the walk nothing on the machine was renamed
 *     or mounted: the sequence numbers of the kernel's own rename_lock and mount_lock are the same.
 *
 * It is read without a lock: a sequence number is odd while it is written, and whoever finds another one
 * behind what he read begins again without the cache.
 *
 * Most events come to nothing, and mostly that follows from what is kept: no clause that would act (deny,
 * mark, tell) is left by the subject and the file together, whatever else there is to say of the event. So
 * that is looked at first, before any fact is put down (comes_to_nothing).
 */
#ifndef OUTRIGGER_KEPT_BPF_H
#define OUTRIGGER_KEPT_BPF_H

#include "rules.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct file_cache);
} file_caches SEC(".maps");

/* File systems whose names change by the kernel's own renames alone, and whose races were tried. */
#define MAGIC_EXT 0xef53
#define MAGIC_XFS 0x58465342
#define MAGIC_TMPFS 0x01021994
#define MAGIC_BTRFS 0x9123683e

/* Everything read before is read before everything read behind. */
static __always_inline void read_in_order(__u64 *any)
{
	__sync_val_compare_and_swap(any, 0, 0);
}

/* Takes a cache for writing. Whether nobody else has it. */
static __always_inline int take_cache(__u32 *busy)
{
	__u32 was = *busy;

	return !(was & 1) && __sync_val_compare_and_swap(busy, was, was + 1) == was;
}

static __always_inline void give_cache_back(__u32 *busy)
{
	__sync_fetch_and_add(busy, 1);
}

struct inode___until_6_5 {
	struct {
		long long tv_sec;
		long tv_nsec;
	} i_ctime;
} __attribute__((preserve_access_index));

struct inode___until_6_10 {
	struct {
		long long tv_sec;
		long tv_nsec;
	} __i_ctime;
} __attribute__((preserve_access_index));

struct inode___since_6_11 {
	long long i_ctime_sec;
	__u32 i_ctime_nsec;
} __attribute__((preserve_access_index));

/* When an inode was changed; false on a kernel that has that elsewhere. */
static __always_inline int changed_at(struct file_state *state, struct inode *inode)
{
	if (bpf_core_field_exists(((struct inode___since_6_11 *)0)->i_ctime_sec)) {
		state->seconds = ((struct inode___since_6_11 *)inode)->i_ctime_sec;
		state->nanoseconds = ((struct inode___since_6_11 *)inode)->i_ctime_nsec;
	} else if (bpf_core_field_exists(((struct inode___until_6_10 *)0)->__i_ctime)) {
		state->seconds = ((struct inode___until_6_10 *)inode)->__i_ctime.tv_sec;
		state->nanoseconds = ((struct inode___until_6_10 *)inode)->__i_ctime.tv_nsec;
	} else if (bpf_core_field_exists(((struct inode___until_6_5 *)0)->i_ctime)) {
		state->seconds = ((struct inode___until_6_5 *)inode)->i_ctime.tv_sec;
		state->nanoseconds = ((struct inode___until_6_5 *)inode)->i_ctime.tv_nsec;
	} else {
		return 0;
	}
	return 1;
}

/* Whether what a file's path depends on can be told for files of its file system. */
static __always_inline int is_keepable(struct file *file)
{
	switch (file->f_inode->i_sb->s_magic) {
	case MAGIC_EXT:
	case MAGIC_XFS:
	case MAGIC_TMPFS:
	case MAGIC_BTRFS:
		return 1;
	}
	return 0;
}

/*
 * What the path and owner of a file depend on, which is_keepable; false if they cannot be kept as it is.
 */
static __always_inline int file_state(struct file_state *state, struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file->f_inode;

	if (!settings.rename_lock || !settings.mount_lock)
		return 0;
	if (inode->i_nlink != 1 && (inode->i_mode & S_IFMT) != S_IFDIR)
		return 0;
	if (!dentry->d_hash.pprev && dentry->d_parent != dentry)
		return 0;
	state->dentry = (__u64)dentry;
	state->mnt = (__u64)file->f_path.mnt;
	state->owner = inode->i_uid.val;
	state->renames = sequence(settings.rename_lock);
	state->mounts = sequence(settings.mount_lock);
	return changed_at(state, inode) && !((state->renames | state->mounts) & 1);
}

static __always_inline int same_file(struct file_state *a, struct file_state *b)
{
	return a->owner == b->owner && a->dentry == b->dentry && a->mnt == b->mnt &&
	       a->renames == b->renames && a->mounts == b->mounts && a->seconds == b->seconds &&
	       a->nanoseconds == b->nanoseconds;
}

/* Whether what is kept at a process is of it as it is now, but for the set of rules and marks. */
static __always_inline int same_subject(struct subject *subject, struct task_struct *task)
{
	struct subject_cache *cache = &subject->cache;
	const struct cred *cred = task->real_cred;

	return subject->ready == SUBJECT_READY && cache->execs == subject->execs &&
	       cache->uid == cred->euid.val && cache->gid == cred->egid.val &&
	       cache->cgroup == task->cgroups->dfl_cgrp->kn->id;
}

/* What an event comes to, by what is kept. */
enum kept_says {
	KEPT_UNKNOWN = 0,
	KEPT_NOTHING = 1,    /* nothing, */
	KEPT_BY_SUBJECT = 2, /* if what is kept of the subject holds, */
	KEPT_BY_FILE = 4,    /* and if what is kept of the file does */
};

/*
 * Whether no clause of the event that would act is left by what is kept of the subject, or else by that and
 * what is kept of the file (NULL: nothing).
 */
__noinline int kept_says(struct subject *subject, struct file_cache *file, __u32 index)
{
	__u64 *acting, left, any = 0, any_of_file = 0, all = 0;
	__u32 i, from, words, zero = 0, says = KEPT_NOTHING;
	struct rules_event *event;
	struct evaluation e = {};

	if (!subject || index >= RULES_EVENTS)
		return KEPT_UNKNOWN;
	e.pages = bpf_map_lookup_elem(&rules, &zero);
	if (!e.pages)
		return KEPT_UNKNOWN;
	e.head = bpf_map_lookup_elem(e.pages, &zero);
	if (!e.head)
		return KEPT_UNKNOWN;
	event = &e.head->events[within(index, RULES_EVENTS - 1)];
	if (!event->acting_at)
		return KEPT_NOTHING;
	if (event->numbers & RULES_SUBJECT_NUMBERS || event->tables & RULES_SUBJECT_TABLES)
		says |= KEPT_BY_SUBJECT;
	else
		all = ~0ULL;
	if (says & KEPT_BY_SUBJECT && subject->cache.generation != e.head->generation)
		return KEPT_UNKNOWN;
	if (event->tables & 1 << RULES_SUBJECT_MARKS && subject->cache.marks | subject->marks.bits)
		return KEPT_UNKNOWN;
	if (file && (file->generation != e.head->generation ||
		     event->tables & 1 << RULES_OBJECT_MARKS))
		file = 0;
	acting = rules_page(&e, event->acting_at);
	if (!acting)
		return KEPT_UNKNOWN;
	from = event->acting_at / 8;
	words = e.head->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++) {
		left = acting[within(from + i, RULES_PAGE / 8 - 1)] &
		       (subject->cache.vector[i] | all);
		any |= left;
		if (file)
			any_of_file |= left & file->vector[i];
	}
	if (!any)
		return says;
	return file && !any_of_file ? says | KEPT_BY_FILE : KEPT_UNKNOWN;
}

/* Whether nothing can come of an event of the current process, on `file` if there is one. */
static __always_inline int comes_to_nothing(struct task_struct *task, struct task_struct *leader,
					    __u32 index, struct file *file)
{
	struct subject *subject = bpf_task_storage_get(&subjects, leader, 0, 0);
	__u32 subject_was, file_was = 0, says;
	struct file_cache *kept = 0;
	struct file_state now;
	__u64 order = 0;

	if (!subject)
		return 0;
	if (file)
		kept = bpf_inode_storage_get(&file_caches, file->f_inode, 0, 0);
	subject_was = subject->cache.busy;
	if (kept)
		file_was = kept->busy;
	read_in_order(&order);
	says = kept_says(subject, kept, index);
	if (!says)
		return 0;
	if (says & KEPT_BY_SUBJECT && (subject_was & 1 || !same_subject(subject, task)))
		return 0;
	if (says & KEPT_BY_FILE && (!kept || file_was & 1 || !file_state(&now, file) ||
				    !same_file(&kept->of, &now)))
		return 0;
	read_in_order(&order);
	return (!(says & KEPT_BY_SUBJECT) || subject->cache.busy == subject_was) &&
	       (!(says & KEPT_BY_FILE) || !kept || kept->busy == file_was);
}

#endif
