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
 * mark, tell) is left by the file, or the subject, or both, whatever else there is to say of the event. So
 * that is looked at first, before any fact is put down (comes_to_nothing); and where the file or the subject
 * alone leaves none, that is kept too, a bit per event. With a few endpoints of a process nothing came of
 * an event for all that there is to say of it: these are kept beside the process.
 */
#ifndef OUTRIGGER_KEPT_BPF_H
#define OUTRIGGER_KEPT_BPF_H

#include "rules.bpf.h"

_Static_assert(PLANE_WORDS == RULES_WORDS, "a vector of the one is one of the other");
_Static_assert(PLANE_EVENTS == RULES_EVENTS && PLANE_EVENTS <= 64, "a bit each");

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
#ifdef __TARGET_ARCH_x86
	/* As the processor does by itself. */
	asm volatile("" ::: "memory");
#else
	__sync_val_compare_and_swap(any, 0, 0);
#endif
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

/* When an inode was changed: seconds and nanoseconds; 0 on a kernel that has that elsewhere. */
static __always_inline __u64 changed_second(struct inode *inode)
{
	if (bpf_core_field_exists(((struct inode___since_6_11 *)0)->i_ctime_sec))
		return ((struct inode___since_6_11 *)inode)->i_ctime_sec;
	if (bpf_core_field_exists(((struct inode___until_6_10 *)0)->__i_ctime))
		return ((struct inode___until_6_10 *)inode)->__i_ctime.tv_sec;
	if (bpf_core_field_exists(((struct inode___until_6_5 *)0)->i_ctime))
		return ((struct inode___until_6_5 *)inode)->i_ctime.tv_sec;
	return 0;
}

static __always_inline __u64 changed_nanosecond(struct inode *inode)
{
	if (bpf_core_field_exists(((struct inode___since_6_11 *)0)->i_ctime_sec))
		return ((struct inode___since_6_11 *)inode)->i_ctime_nsec;
	if (bpf_core_field_exists(((struct inode___until_6_10 *)0)->__i_ctime))
		return ((struct inode___until_6_10 *)inode)->__i_ctime.tv_nsec;
	if (bpf_core_field_exists(((struct inode___until_6_5 *)0)->i_ctime))
		return ((struct inode___until_6_5 *)inode)->i_ctime.tv_nsec;
	return 0;
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

/* Whether the name that a file was found by is its name still. */
static __always_inline int is_named(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;

	return dentry->d_hash.pprev || dentry->d_parent == dentry;
}

/*
 * What the path and owner of a file depend on, which is_keepable; false if they cannot be kept as it is.
 */
static __always_inline int file_state(struct file_state *state, struct file *file)
{
	struct inode *inode = file->f_inode;

	if (!settings.rename_lock || !settings.mount_lock || !is_named(file))
		return 0;
	if (inode->i_nlink != 1 && (inode->i_mode & S_IFMT) != S_IFDIR)
		return 0;
	state->dentry = (__u64)file->f_path.dentry;
	state->mnt = (__u64)file->f_path.mnt;
	state->owner = inode->i_uid.val;
	state->renames = sequence(settings.rename_lock);
	state->mounts = sequence(settings.mount_lock);
	state->seconds = changed_second(inode);
	state->nanoseconds = changed_nanosecond(inode);
	return state->seconds && !((state->renames | state->mounts) & 1);
}

static __always_inline int same_file(struct file_state *a, struct file_state *b)
{
	return a->owner == b->owner && a->dentry == b->dentry && a->mnt == b->mnt &&
	       a->renames == b->renames && a->mounts == b->mounts && a->seconds == b->seconds &&
	       a->nanoseconds == b->nanoseconds;
}

/*
 * Whether what is kept at a file is of it as it is now: same_file() of file_state(), without putting that
 * down first. A kept sequence number is even, and with a further name the first is right still.
 */
static __always_inline int holds_for_file(struct file_state *of, struct file *file, __u64 renames,
					  __u64 mounts)
{
	struct inode *inode = file->f_inode;

	return of->renames == renames && of->mounts == mounts &&
	       of->dentry == (__u64)file->f_path.dentry && of->mnt == (__u64)file->f_path.mnt &&
	       of->owner == inode->i_uid.val && of->seconds == changed_second(inode) &&
	       of->nanoseconds == changed_nanosecond(inode) && is_named(file);
}

/* Whether what is kept at a process is of it as it is now, but for its marks. */
static __always_inline int holds_for_subject(struct subject *subject, struct task_struct *task)
{
	struct subject_cache *cache = &subject->cache;
	const struct cred *cred = task->real_cred;

	return subject->ready == SUBJECT_READY && cache->execs == subject->execs &&
	       cache->uid == cred->euid.val && cache->gid == cred->egid.val &&
	       cache->cgroup == task->cgroups->dfl_cgrp->kn->id;
}

/* Writes down that nothing can come of an event, unless what that follows from was written since. */
static __always_inline void note_nothing(__u32 *busy, __u32 was, __u64 *nothing, __u32 index)
{
	if (was & 1 || __sync_val_compare_and_swap(busy, was, was + 1) != was)
		return;
	*nothing |= 1ULL << index;
	give_cache_back(busy);
}

/*
 * Whether no clause of the event that acts is left by what is kept of the subject and of the file (NULL:
 * nothing is), which are of the set that `front` is of. Where the one alone leaves none it is noted there.
 */
__noinline int leaves_nothing(struct plane_front *front, struct subject_cache *subject,
			      struct file_cache *file, __u32 index)
{
	__u64 left, by_subject, by_file, any = 0, any_by_subject = 0, any_by_file = 0;
	__u32 i, words, subject_was = 1, file_was = 1;

	if (!front)
		return 0;
	index &= PLANE_EVENTS - 1;
	if (subject)
		subject_was = subject->busy;
	if (file)
		file_was = file->busy;
	read_in_order(&any);
	words = front->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < PLANE_WORDS && i < words; i++) {
		left = front->acting[index][i];
		by_subject = left;
		by_file = left;
		if (subject)
			by_subject &= subject->vector[i];
		if (file)
			by_file &= file->vector[i];
		any_by_subject |= by_subject;
		any_by_file |= by_file;
		any |= by_subject & by_file;
	}
	if (any)
		return 0;
	if (subject && !any_by_subject && subject->generation == front->generation)
		note_nothing(&subject->busy, subject_was, &subject->nothing, index);
	if (file && !any_by_file && file->generation == front->generation)
		note_nothing(&file->busy, file_was, &file->nothing, index);
	return 1;
}

/* What an event's endpoint is, besides its address: the event by its index, and what the socket is. */
static __always_inline __u64 endpoint_kind(__u32 index, __u32 family, __be16 port, __u32 protocol,
					   __u32 type)
{
	return (__u64)port << 48 | (__u64)(__u16)protocol << 32 | (__u64)(__u8)type << 24 |
	       (__u64)(__u8)family << 16 | (index + 1);
}

static __always_inline __be16 endpoint_port(struct endpoint *to)
{
	return to->kind >> 48;
}

static __always_inline __u16 endpoint_protocol(struct endpoint *to)
{
	return to->kind >> 32;
}

static __always_inline __u8 endpoint_type(struct endpoint *to)
{
	return to->kind >> 24;
}

static __always_inline __u8 endpoint_family(struct endpoint *to)
{
	return to->kind >> 16;
}

/* Its place among those that are kept, if it is. */
static __always_inline struct endpoint *place_of(struct subject_cache *cache, struct endpoint *to)
{
	__u64 at = to->kind >> 48 ^ to->kind >> 56 ^ to->address[1] >> 32 ^ to->address[1] >> 56;

	return &cache->quiet[within(at, SUBJECT_ENDPOINTS - 1)];
}

static __always_inline int same_endpoint(struct endpoint *a, struct endpoint *b)
{
	return a->kind == b->kind && a->address[0] == b->address[0] &&
	       a->address[1] == b->address[1];
}

/*
 * Keeps that nothing came of an event with an endpoint, by a subject of which what was kept had the number
 * `was`: unless that was written since.
 */
static __always_inline void keep_endpoint(struct endpoint *to, __u32 was)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct subject *subject = bpf_task_storage_get(&subjects, leader, 0, 0);

	if (!subject || was & 1 ||
	    __sync_val_compare_and_swap(&subject->cache.busy, was, was + 1) != was)
		return;
	*place_of(&subject->cache, to) = *to;
	give_cache_back(&subject->cache.busy);
}

/*
 * Whether nothing can come of an event (a constant) of the current process, on `file` if there is one, or
 * with the endpoint `to` if it has one.
 *
 * What is read of a cache counts if its number was even before and is the same behind. What is read of
 * `front` is of one set: the host takes its generation away before it replaces the set, which waits for
 * every program that has seen it, and writes the next one's only then.
 */
static __always_inline int comes_to_nothing(struct plane_front *front, __u32 index,
					    struct file *file, struct endpoint *to)
{
	__u64 order = 0, generation, renames, mounts;
	__u32 subject_was = 0, file_was = 0, by;
	struct subject_cache *of_subject = 0;
	struct file_cache *of_file = 0;
	struct task_struct *task;
	struct subject *subject;
	int nothing;

	generation = front->generation;
	if (!generation)
		return 0;
	read_in_order(&order);
	by = front->by[index];
	if (!by)
		return 1;
	if (file && by & PLANE_BY_FILE) {
		renames = sequence(settings.rename_lock);
		mounts = sequence(settings.mount_lock);
		of_file = bpf_inode_storage_get(&file_caches, file->f_inode, 0, 0);
		if (of_file) {
			file_was = of_file->busy;
			read_in_order(&order);
			if (file_was & 1 || of_file->generation != generation ||
			    !holds_for_file(&of_file->of, file, renames, mounts))
				of_file = 0;
		}
		if (of_file && of_file->nothing & 1ULL << index) {
			read_in_order(&order);
			return of_file->busy == file_was;
		}
	}
	if (by & PLANE_BY_SUBJECT || to) {
		task = bpf_get_current_task_btf();
		subject = bpf_task_storage_get(&subjects, task->group_leader, 0, 0);
		if (subject) {
			of_subject = &subject->cache;
			subject_was = of_subject->busy;
			read_in_order(&order);
			if (subject_was & 1 || of_subject->generation != generation ||
			    (by & PLANE_BY_MARKS && of_subject->marks | subject->marks.bits) ||
			    !holds_for_subject(subject, task))
				of_subject = 0;
		}
		if (of_subject &&
		    (of_subject->nothing & 1ULL << index ||
		     (to && same_endpoint(place_of(of_subject, to), to)))) {
			read_in_order(&order);
			return of_subject->busy == subject_was;
		}
	}
	if (!of_subject && !of_file)
		return 0;
	nothing = leaves_nothing(front, of_subject, of_file, index);
	read_in_order(&order);
	return nothing && (!of_subject || of_subject->busy == subject_was) &&
	       (!of_file || of_file->busy == file_was);
}

#endif
