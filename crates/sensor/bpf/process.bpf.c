// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * process.bpf.c - tell of processes that were made, that run another program, that ended
 *
 * Hooks:   tp_btf/sched_process_fork(parent, child)          in the parent, before the child runs
 *          tp_btf/sched_process_exec(task, old pid, binprm)  with the new program and credentials
 *          tp_btf/sched_process_exit(task)                   per thread; the last one tells
 * Since:   Linux 6.1 (bpf_loop 5.17, ring-buffer dynptrs 5.19)
 * Reads:   shared.wake_at
 * Writes:  ring; lineage and orphans (who forked whom); shared.losses, which count every record that
 *          the ring had no room for: nothing waits for it
 *
 * Processes only: a thread's start and end tell nothing. Kernel threads neither.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "process.h"

/* The programs read the kernel's types, which the kernel allows to GPL-compatible programs alone. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set by the loader, constant to the verifier. */
const volatile struct process_settings settings;

#include "identify.bpf.h"
#include "ring.bpf.h"

/* Longest path told of, as long as the kernel itself would print; and the longest name in it. */
#define PATH_BYTES 4096
#define NAME_BYTES 256
/* Names and mounts that such a path can have. */
#define STEPS 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set anew by the loader */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct process_shared);
} shared SEC(".maps");

/* What is remembered of a process, at the task of its first thread. */
struct lineage {
	struct process_id parent; /* who forked it: real_parent becomes the reaper once that one ends */
	__u32 leader_ended;	  /* the first thread has passed the tracepoint of its end */
	__u32 told;		  /* its exit was told */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct lineage);
} lineages SEC(".maps");

/*
 * Who forked a process whose first thread has ended before the others: if one of those runs another
 * program it takes the first one's place, and finds its parent here, by pid. Beyond this many, the
 * parent is the one of that moment.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct process_id);
} orphans SEC(".maps");

/*
 * Room to put a record with a path together. The kernel lets no second run of the exec program begin on
 * a processor before the first has ended there, so nobody else writes here meanwhile.
 */
struct scratch {
	struct process_record record;
	char path[PATH_BYTES + NAME_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct process_shared *shared_page(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&shared, &zero);
}

static __always_inline struct process_losses *losses(struct process_shared *page, __u32 cpu)
{
	return &page->losses[cpu & (PROCESS_SLOTS - 1)];
}

/* Who forked a process: as remembered, or for one older than the sensor its parent of now. */
static __always_inline struct process_id parent_of(struct task_struct *leader,
						   struct lineage *known)
{
	if (known)
		return known->parent;
	return identify(leader->real_parent->group_leader);
}

static __always_inline void describe(struct process_record *record, struct process_shared *page,
				     __u8 kind, struct task_struct *leader)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct process_losses *before = losses(page, cpu);
	const struct cred *cred = leader->real_cred;

	record->time = bpf_ktime_get_ns();
	record->lost[PROCESS_FORK] = before->lost[PROCESS_FORK];
	record->lost[PROCESS_EXEC] = before->lost[PROCESS_EXEC];
	record->lost[PROCESS_EXIT] = before->lost[PROCESS_EXIT];
	record->process = identify(leader);
	record->uid = cred->euid.val;
	record->gid = cred->egid.val;
	record->inode = 0;
	record->device = 0;
	record->status = 0;
	record->cpu = cpu & (PROCESS_SLOTS - 1);
	record->path_len = 0;
	record->kind = kind;
	record->flags = 0;
}

static __always_inline void drop(struct process_shared *page, __u8 kind)
{
	__sync_fetch_and_add(&losses(page, bpf_get_smp_processor_id())->lost[kind], 1);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_shared *page = shared_page();
	struct process_record *record;
	struct lineage known = {};

	if (!page || child->pid != child->tgid || child->flags & PF_KTHREAD)
		return 0;
	known.parent = identify(parent->group_leader);
	bpf_task_storage_get(&lineages, child, &known, BPF_LOCAL_STORAGE_GET_F_CREATE);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		drop(page, PROCESS_FORK);
		return 0;
	}
	describe(record, page, PROCESS_FORK, child);
	record->parent = known.parent;
	bpf_ringbuf_submit(record, ring_wake(&ring, &page->wake_at));
	return 0;
}

/* A walk from a file to the root of its mount namespace, its names collected on the way. */
struct walk {
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root; /* of the mount */
	__u32 len;
	__u8 complete;
	__u8 nameless; /* a file in memory, which has a name but no place */
};

static int walk_up(__u32 step, struct walk *walk)
{
	struct dentry *dentry = walk->dentry, *parent;
	struct mount *mount = walk->mount;
	struct scratch *scratch;
	__u32 zero = 0, len = walk->len;
	long copied;

	if (dentry == walk->root) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount) {
			walk->complete = 1;
			return 1;
		}
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mount = above;
		walk->root = BPF_CORE_READ(above, mnt.mnt_root);
		return 0;
	}
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch || len >= PATH_BYTES)
		return 1;
	copied = bpf_probe_read_kernel_str(&scratch->path[len], NAME_BYTES,
					   BPF_CORE_READ(dentry, d_name.name));
	if (copied <= 1)
		return 1;
	walk->len = len + copied;
	parent = BPF_CORE_READ(dentry, d_parent);
	if (parent == dentry) {
		walk->nameless = 1;
		walk->complete = 1;
		return 1;
	}
	walk->dentry = parent;
	return 0;
}

/*
 * The path of a file as the kernel prints it to somebody outside of every chroot. It is read without
 * locks: a rename in the same moment may show in one name and not yet in another.
 */
static __always_inline void find_path(struct process_record *record, struct file *file)
{
	/* Read as numbers: the verifier follows no pointer of its own through a loop. */
	struct vfsmount *mnt = BPF_CORE_READ(file, f_path.mnt);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct walk walk = {
		.dentry = dentry,
		.mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt),
		.root = BPF_CORE_READ(mnt, mnt_root),
	};
	int hashed = BPF_CORE_READ(dentry, d_hash.pprev) != 0;

	bpf_loop(STEPS, walk_up, &walk, 0);
	if (!walk.complete || walk.len > PATH_BYTES)
		return;
	record->path_len = walk.len;
	record->flags |= PROCESS_HAS_PATH;
	if (!hashed || walk.nameless)
		record->flags |= PROCESS_UNLINKED;
}

/*
 * A file's key, where the file system's own numbers are those that stat(2) gives. Elsewhere (btrfs,
 * overlayfs, ...) only the file system knows those, and it cannot be asked from here.
 */
static __always_inline void find_file(struct process_record *record, struct file *file)
{
	struct inode *inode = file->f_inode;
	struct super_block *sb = inode->i_sb;

	switch (sb->s_magic) {
	case 0xef53:	 /* ext2, ext3, ext4 */
	case 0x58465342: /* xfs */
	case 0x01021994: /* tmpfs */
		record->inode = inode->i_ino;
		record->device = sb->s_dev;
		record->flags |= PROCESS_HAS_FILE;
	}
}

/*
 * What is remembered of a process that has another program now. A thread that took the first one's
 * place has nothing yet: what the first one had is among the orphans.
 */
static __always_inline struct lineage *remembered(struct task_struct *task)
{
	struct lineage *known = bpf_task_storage_get(&lineages, task, 0, 0);
	__u32 tgid = task->tgid;
	struct process_id *parent;

	if (known)
		return known;
	parent = bpf_map_lookup_elem(&orphans, &tgid);
	if (parent) {
		struct lineage again = {.parent = *parent};

		known = bpf_task_storage_get(&lineages, task, &again,
					     BPF_LOCAL_STORAGE_GET_F_CREATE);
		bpf_map_delete_elem(&orphans, &tgid);
	}
	return known;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct process_shared *page = shared_page();
	struct process_record *record;
	struct scratch *scratch;
	struct bpf_dynptr room;
	__u32 zero = 0, len;

	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!page || !scratch)
		return 0;
	record = &scratch->record;
	describe(record, page, PROCESS_EXEC, task);
	record->parent = parent_of(task, remembered(task));
	find_path(record, bprm->file);
	find_file(record, bprm->file);
	len = record->path_len;
	if (len > PATH_BYTES)
		len = 0; /* never: for the verifier */
	len += sizeof(*record);
	if (bpf_ringbuf_reserve_dynptr(&ring, len, 0, &room)) {
		drop(page, PROCESS_EXEC);
		/* It must be given back even where it holds nothing. */
		bpf_ringbuf_discard_dynptr(&room, BPF_RB_NO_WAKEUP);
		return 0;
	}
	bpf_dynptr_write(&room, 0, scratch, len, 0);
	bpf_ringbuf_submit_dynptr(&room, ring_wake(&ring, &page->wake_at));
	return 0;
}

/*
 * Whether this end of a thread is that of its process. Threads that end at the same time may all find
 * no thread alive, so one of them has to win; and not before the first thread, whose status counts,
 * has ended too: the one of the two that comes here later sees the other.
 */
static __always_inline int last_one(struct task_struct *task, struct task_struct *leader,
				    struct process_shared *page, struct lineage **known)
{
	struct signal_struct *signal = task->signal;
	struct lineage nothing = {};

	*known = bpf_task_storage_get(&lineages, leader, 0, 0);
	if (signal->nr_threads == 1)
		return 1;
	if (!*known) {
		nothing.parent = parent_of(leader, 0);
		*known = bpf_task_storage_get(&lineages, leader, &nothing,
					      BPF_LOCAL_STORAGE_GET_F_CREATE);
	}
	if (!*known) {
		/* No memory: the first thread cannot be waited for, so nobody may tell. */
		if (!signal->live.counter && task == leader)
			drop(page, PROCESS_EXIT);
		return 0;
	}
	if (task == leader)
		__sync_lock_test_and_set(&(*known)->leader_ended, 1);
	if (signal->live.counter) {
		__u32 tgid = task->tgid;

		if (task == leader && !(signal->flags & SIGNAL_GROUP_EXIT))
			bpf_map_update_elem(&orphans, &tgid, &(*known)->parent, BPF_ANY);
		return 0;
	}
	if (!__sync_fetch_and_add(&(*known)->leader_ended, 0))
		return 0;
	return !__sync_lock_test_and_set(&(*known)->told, 1);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct process_shared *page = shared_page();
	struct task_struct *leader = task->group_leader;
	struct signal_struct *signal = task->signal;
	struct process_record *record;
	struct lineage *known;
	__u32 tgid = task->tgid;

	if (!page || task->flags & PF_KTHREAD || !last_one(task, leader, page, &known))
		return 0;
	if (task != leader)
		bpf_map_delete_elem(&orphans, &tgid);
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		drop(page, PROCESS_EXIT);
		return 0;
	}
	describe(record, page, PROCESS_EXIT, leader);
	record->parent = parent_of(leader, known);
	record->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
							   : leader->exit_code;
	bpf_ringbuf_submit(record, ring_wake(&ring, &page->wake_at));
	return 0;
}
