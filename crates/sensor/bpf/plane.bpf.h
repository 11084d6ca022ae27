/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * plane.bpf.h - what a hook of the second plane is made of
 *
 *	SEC("lsm/path_mkdir")
 *	int BPF_PROG(mkdir, const struct path *dir, struct dentry *dentry, unsigned short mode, int ret)
 *	{
 *		struct facts *f = facts_begin(FILE_MKDIR, ret);
 *
 *		if (!f)
 *			return ret;
 *		facts_number(f, PLACE_VALUE0, mode);
 *		facts_path(f, dir->mnt, dentry);
 *		return facts_end(f);
 *	}
 *
 * facts_begin gives nothing, at once, if nobody wants the event, if somebody else has denied it, for
 * kernel threads and for our own processes. Between it and facts_end a hook says what it knows and
 * returns nowhere else. Programs are not sleepable: nothing here waits.
 *
 * Maps: all of them are shared by all programs; the loader sees to that by their names.
 */
#ifndef OUTRIGGER_PLANE_BPF_H
#define OUTRIGGER_PLANE_BPF_H

#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "catalogue.h" /* made from crates/api/src/catalogue.rs: EVENT_X, NUMBER_X */
#include "plane.h"
#include "plane_record.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set by the loader, constant to the verifier. */
const volatile struct plane_settings settings SEC(".rodata.settings");

#include "identify.bpf.h"
#include "ring.bpf.h"
#include "rules.bpf.h"

/*
 * `value & mask` (of mask one less than a power of two) in a form that clang does not fold into others and
 * so lose from the verifier's sight.
 */
static __always_inline __u64 bounded(__u64 value, const __u64 mask)
{
	asm volatile("%0 &= %1" : "+r"(value) : "i"(mask));
	return value;
}

/* Events that can be put together on one processor at the same time: a hook can be preempted. */
#define WORKS 6

/* Room to put one together, and for the rules to evaluate it. */
struct work {
	__u32 taken;
	__u32 unused;
	struct rules_room room;
	struct facts facts;
	/* None of these: they put what the host reads and writes into the type information. */
	struct plane_record record[0];
	struct rules_header header[0];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set anew by the loader */
} plane_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plane_shared);
} plane_shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plane_front);
} plane_front SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WORKS);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

/* Processes, at the tasks of their first threads. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct subject);
} subjects SEC(".maps");

/* Our own processes; written by the host, by their pidfds. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} own SEC(".maps");

#include "siphash.bpf.h"
#include "paths.bpf.h"
#include "subject.bpf.h"
#include "kept.bpf.h"

static __always_inline struct plane_front *plane_front_page(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&plane_front, &zero);
}

static __always_inline struct plane_losses *plane_losses_of(struct plane_shared *page, __u32 cpu)
{
	return &page->losses[cpu & (PLANE_SLOTS - 1)];
}

static __always_inline void plane_lose(__u32 index)
{
	__u32 zero = 0;
	struct plane_shared *page = bpf_map_lookup_elem(&plane_shared, &zero);

	if (page)
		__sync_fetch_and_add(&plane_losses_of(page, bpf_get_smp_processor_id())
					      ->lost[bounded(index, PLANE_EVENTS - 1)],
				     1);
}

/* Takes room for an event's facts, and empties what must be empty; NULL if all is taken. */
static __always_inline struct facts *facts_take(void)
{
	struct facts *f;
	__u32 i;

	for (i = 0; i < WORKS; i++) {
		__u32 at = i;
		struct work *work = bpf_map_lookup_elem(&works, &at);

		if (!work || __sync_lock_test_and_set(&work->taken, 1))
			continue;
		f = &work->facts;
		__builtin_memset(f, 0, __builtin_offsetof(struct facts, lineage));
		f->lineage.len = 0;
		f->lineage.cut = 0;
		f->target_lineage.len = 0;
		f->target_lineage.cut = 0;
		f->state = 0;
		f->object.dentry = 0;
		f->new_object.dentry = 0;
		f->inode = 0;
		f->target = 0;
		f->cpu = bpf_get_smp_processor_id();
		__builtin_memset(&work->room.out, 0, sizeof(work->room.out));
		work->room.keeps = 0;
		return f;
	}
	return 0;
}

static __always_inline void facts_give_back(struct facts *f)
{
	struct work *work = (void *)f - __builtin_offsetof(struct work, facts);

	__sync_lock_test_and_set(&work->taken, 0);
}

static __always_inline void facts_has(struct facts *f, __u32 place)
{
	f->has |= 1ULL << place;
}

static __always_inline void facts_number(struct facts *f, __u32 place, __u64 value)
{
	f->numbers[place] = value;
	facts_has(f, place);
}

static __always_inline struct facts *facts_begin_event(__u32 index, __u16 event, int ret,
							struct file *file,
							struct endpoint *to)
{
	struct plane_front *front = plane_front_page();
	struct task_struct *task;
	const struct cred *cred;
	struct facts *f;
	__u32 want;

	if (!front || ret)
		return 0;
	want = front->want[index];
	if (!want)
		return 0;
	if (want & PLANE_RULE && comes_to_nothing(front, index, file, to))
		return 0;
	task = bpf_get_current_task_btf();
	if (task->flags & PF_KTHREAD)
		return 0;
	if (bpf_task_storage_get(&own, task->group_leader, 0, 0))
		return 0;
	f = facts_take();
	if (!f) {
		plane_lose(index);
		return 0;
	}
	f->event = event;
	f->index = index;
	cred = task->real_cred;
	facts_number(f, PLACE_SUBJECT_UID, cred->euid.val);
	facts_number(f, PLACE_SUBJECT_GID, cred->egid.val);
	/* Lineage and marks are always there, if only to say that nothing is known. */
	return f;
}

/* Takes the facts of an event of the current process; NULL if there is nothing to do. */
#define facts_begin(name, ret) facts_begin_event(EVENT_##name, NUMBER_##name, ret, 0, 0)

/* The same where the object is an open file, of which what rules make is kept. */
#define facts_begin_file(name, file, ret)                                                          \
	facts_of_file(facts_begin_event(EVENT_##name, NUMBER_##name, ret, file, 0), file)

/* The object is a file with this name; `mnt` is the mount that it was found by, NULL if unknown. */
static __always_inline void facts_path(struct facts *f, const struct vfsmount *mnt,
				       struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	f->object.mnt = (__u64)mnt;
	f->object.dentry = (__u64)dentry;
	facts_has(f, PLACE_PATH);
	facts_has(f, PLACE_PATH_KNOWN);
	f->inode = (__u64)inode;
	if (inode)
		facts_number(f, PLACE_OWNER, BPF_CORE_READ(inode, i_uid.val));
}

static __always_inline void facts_dentry(struct facts *f, struct dentry *dentry)
{
	facts_path(f, 0, dentry);
}

static __always_inline void facts_file(struct facts *f, struct file *file)
{
	facts_path(f, BPF_CORE_READ(file, f_path.mnt), BPF_CORE_READ(file, f_path.dentry));
}

static __always_inline struct facts *facts_of_file(struct facts *f, struct file *file)
{
	struct work *work;

	if (!f)
		return 0;
	facts_file(f, file);
	work = (void *)f - __builtin_offsetof(struct work, facts);
	if (is_keepable(file) && file_state(&work->room.file, file))
		f->state |= FACTS_KEPT;
	return f;
}

/* Whether the object is a file in memory (memfd_create): it has no place in any folder. */
static __always_inline int facts_in_memory(struct facts *f)
{
	struct dentry *dentry = (void *)f->object.dentry;
	struct vfsmount *mnt = (void *)f->object.mnt;

	return dentry == BPF_CORE_READ(dentry, d_parent) && dentry != BPF_CORE_READ(mnt, mnt_root);
}

/* The object would be a file, and there is none, or it is not known where. */
static __always_inline void facts_nowhere(struct facts *f)
{
	facts_has(f, PLACE_PATH);
	facts_has(f, PLACE_PATH_KNOWN);
}

/* It has happened: nothing can be refused any more. */
static __always_inline void facts_done(struct facts *f)
{
	f->state |= FACTS_DONE;
}

/*
 * An argument of the hook as a number. The verifier takes one that points to a structure for one that is
 * never NULL, and does not look at what follows if it is.
 */
static __always_inline __u64 argument(void *ctx, __u32 number)
{
	__u64 value = 0;

	bpf_get_func_arg(ctx, number, &value);
	return value;
}

/* The other path of the event. */
static __always_inline void facts_new_path(struct facts *f, const struct vfsmount *mnt,
					   struct dentry *dentry)
{
	f->new_object.mnt = (__u64)mnt;
	f->new_object.dentry = (__u64)dentry;
	facts_has(f, PLACE_NEW_PATH);
}

/* The object is the process of this task. */
static __always_inline void facts_target(struct facts *f, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	const struct cred *cred = (const struct cred *)BPF_CORE_READ(task, real_cred);

	facts_number(f, PLACE_TARGET_UID, BPF_CORE_READ(cred, euid.val));
	facts_number(f, PLACE_TARGET_GID, BPF_CORE_READ(cred, egid.val));
	f->target = (__u64)leader;
	subject_of_target(f, leader);
}

/* The text of the event: a string in the kernel's memory. One that is too long is not known. */
static __always_inline void facts_text(struct facts *f, const char *text)
{
	long copied = bpf_probe_read_kernel_str(f->text, sizeof(f->text), text);

	if (copied <= 0 || copied == sizeof(f->text))
		return;
	f->texts[PLACE_TEXT - PLACE_EXE].len = copied - 1;
	facts_has(f, PLACE_TEXT);
}

/* The text of the event: so many bytes in the kernel's memory. */
static __always_inline void facts_bytes(struct facts *f, const void *bytes, __u32 len)
{
	if (len >= sizeof(f->text) || bpf_probe_read_kernel(f->text, len & 255, bytes))
		return;
	f->texts[PLACE_TEXT - PLACE_EXE].len = len;
	facts_has(f, PLACE_TEXT);
}

/* The object is this socket's address. */
static __always_inline void facts_address(struct facts *f, __u16 family, const void *address,
					  __be16 port)
{
	facts_number(f, PLACE_FAMILY, family);
	if (family == 2) { /* AF_INET */
		f->address[10] = 0xff;
		f->address[11] = 0xff;
		bpf_probe_read_kernel(&f->address[12], 4, address);
	} else if (family == 10) { /* AF_INET6 */
		bpf_probe_read_kernel(f->address, 16, address);
	} else {
		return;
	}
	facts_number(f, PLACE_PORT, __builtin_bswap16(port));
	f->has |= 1ULL << 32;
}

/*
 * The same with an endpoint, whose family, port, protocol and type `to->kind` has: that nothing comes of the
 * event is kept by it, so there is nothing else to say of the event.
 */
static __always_inline void facts_endpoint(struct facts *f, struct endpoint *to)
{
	facts_number(f, PLACE_FAMILY, endpoint_family(to));
	facts_number(f, PLACE_PORT, __builtin_bswap16(endpoint_port(to)));
	facts_number(f, PLACE_VALUE0, endpoint_protocol(to));
	facts_number(f, PLACE_VALUE1, endpoint_type(to));
	__builtin_memcpy(f->address, to->address, sizeof(f->address));
	f->has |= 1ULL << FACTS_ADDRESS;
	f->state |= FACTS_QUIET;
}

/* The same of a struct sockaddr in the kernel's memory, with its length. */
static __always_inline void facts_sockaddr(struct facts *f, const void *address, int len)
{
	struct {
		__u16 family;
		__be16 port;
	} head = {};

	if (len < (int)sizeof(head.family) || bpf_probe_read_kernel(&head, sizeof(head), address))
		return;
	if (head.family == 2 && len >= 8)
		facts_address(f, 2, address + 4, head.port);
	else if (head.family == 10 && len >= 24)
		facts_address(f, 10, address + 8, head.port);
	else if (head.family != 2 && head.family != 10)
		facts_address(f, head.family, 0, 0);
}

/* Walks to the paths of the event, if that was not done. */
__noinline int facts_walk(struct facts *f)
{
	if (!f || f->state & FACTS_WALKED)
		return 0;
	f->state |= FACTS_WALKED;
	if (settings.rename_lock && settings.mount_lock)
		f->state |= FACTS_STABLE;
	if (f->object.dentry) {
		__u32 at = FACTS_PATH;

		f->numbers[PLACE_PATH_KNOWN] = find_path(f, &f->object, 0);
		if (f->numbers[PLACE_PATH_KNOWN])
			at = f->walk.at;
		else
			f->state &= ~FACTS_STABLE;
		f->texts[PLACE_PATH - PLACE_EXE].at = at;
		f->texts[PLACE_PATH - PLACE_EXE].len = FACTS_PATH - at;
	}
	if (f->new_object.dentry) {
		__u32 at = FACTS_PATH;

		if (find_path(f, &f->new_object, FACTS_PATH))
			at = f->walk.at;
		else
			f->state &= ~FACTS_STABLE;
		f->texts[PLACE_NEW_PATH - PLACE_EXE].at = at;
		f->texts[PLACE_NEW_PATH - PLACE_EXE].len = FACTS_PATH - at;
	}
	return 0;
}

#include "judge.bpf.h"
#include "tell.bpf.h"

/*
 * Ends what facts_begin began, with what is kept at the object. Who wants to be told is what the rules
 * say, or everybody while there are none.
 */
static __always_inline int facts_judge(struct facts *f, struct file_cache *cache)
{
	struct work *work = (void *)f - __builtin_offsetof(struct work, facts);
	struct outcome *out = &work->room.out;
	struct plane_front *front = plane_front_page();
	__u32 want = front ? front->want[bounded(f->index, PLANE_EVENTS - 1)] : 0;
	int denied;

	if (want & PLANE_RULE)
		judge(f, &work->room, cache);
	if (f->state & FACTS_DONE && out->flags & RULED_DENY) {
		out->flags = (out->flags & ~RULED_DENY) | RULED_WOULD_DENY;
		out->would_deny = out->deny;
	}
	if (!out->generation && want & PLANE_TELL)
		out->tell = ~0ULL;
	if (out->subject_marks && !(out->flags & RULED_DENY))
		judge_marks(f, &work->room);
	if (out->tell || out->flags & (RULED_DENY | RULED_WOULD_DENY))
		plane_tell(f, out);
	if (!(out->flags & RULED_DENY))
		return 0;
	/* As a branch, not as the calculation that clang makes of it: the verifier follows no negation. */
	denied = -EPERM;
	barrier_var(denied);
	return denied;
}

/* Ends what facts_begin began; the hook returns what this does. */
static __always_inline int facts_end(struct facts *f)
{
	int result = facts_judge(f, 0);

	facts_give_back(f);
	return result;
}

/* The same of an event with an endpoint (facts_endpoint). */
static __always_inline int facts_end_with(struct facts *f, struct endpoint *to)
{
	struct work *work = (void *)f - __builtin_offsetof(struct work, facts);
	struct outcome *out = &work->room.out;
	int result = facts_judge(f, 0);

	if (out->generation && !out->tell && !out->subject_marks && !out->object_marks &&
	    !(out->flags & ~RULED_ALLOW))
		keep_endpoint(to, work->room.subject_was);
	facts_give_back(f);
	return result;
}

/* The same where the object is a file that is there: its marks count, and what rules make of it is kept. */
static __always_inline int facts_end_of(struct facts *f, struct inode *inode)
{
	struct work *work = (void *)f - __builtin_offsetof(struct work, facts);
	struct rules_room *room = &work->room;
	struct file_cache *cache = 0;
	struct mark_set *marks;
	int result;

	if (inode) {
		marks = bpf_inode_storage_get(&file_marks, inode, 0, 0);
		if (marks)
			f->object_marks = marks_now(marks, room);
		if (f->state & FACTS_KEPT)
			cache = bpf_inode_storage_get(&file_caches, inode, 0, 0);
	}
	result = facts_judge(f, cache);
	if (inode && room->keeps)
		bpf_inode_storage_get(&file_caches, inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (inode && room->out.object_marks && !result) {
		marks = bpf_inode_storage_get(&file_marks, inode, 0,
					      BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (marks)
			marks_put(marks, room, room->out.object_marks);
	}
	facts_give_back(f);
	return result;
}

/* The same where the object is a process: the task of its first thread. */
static __always_inline int facts_end_at(struct facts *f, struct task_struct *leader)
{
	struct work *work = (void *)f - __builtin_offsetof(struct work, facts);
	struct rules_room *room = &work->room;
	struct subject *target = bpf_task_storage_get(&subjects, leader, 0, 0);
	int result;

	if (target)
		f->object_marks = marks_now(&target->marks, room);
	result = facts_judge(f, 0);
	if (target && room->out.object_marks && !result) {
		__u64 inherited = marks_put(&target->marks, room, room->out.object_marks);

		__sync_fetch_and_or(&target->inherited, inherited);
	}
	facts_give_back(f);
	return result;
}

#endif
