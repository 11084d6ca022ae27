// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * identity.bpf.c - what is remembered of each process: who forked it, what it runs and has run
 *
 * Hooks:   tp_btf/sched_process_fork, sched_process_exec, sched_process_exit; iter/task once at the start
 * Since:   Linux 6.1
 * Writes:  subjects (task storage at a process's first thread), orphans
 *
 * They tell nothing and refuse nothing. A process's memory is there before its first instruction: a fork
 * copies its parent's, an exec writes down the program before it runs.
 */
#include "plane.bpf.h"

/*
 * What is remembered of a process whose first thread has ended before the others: if one of those runs
 * another program it takes the first one's place, and finds it here, by pid. Beyond this many, its
 * lineage is unknown from then on.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct subject);
} subject_orphans SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(identity_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_struct *leader = parent->group_leader;
	struct subject *from, *to;

	if (child->pid != child->tgid || child->flags & PF_KTHREAD)
		return 0;
	from = bpf_task_storage_get(&subjects, leader, 0, 0);
	if (from && from->ready == SUBJECT_READY) {
		to = bpf_task_storage_get(&subjects, child, from, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!to)
			return 0;
		to->marks.bits &= to->inherited;
		to->cache.generation = 0;
		to->cache.busy = 0;
	} else {
		struct facts *f;

		to = bpf_task_storage_get(&subjects, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!to)
			return 0;
		f = facts_take();
		if (f) {
			f->given = (__u64)child;
			subject_seed(to, f);
			facts_give_back(f);
		} else {
			to->lineage.cut = 1;
		}
		to->ready = SUBJECT_READY;
	}
	to->parent = identify(leader);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(identity_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct subject *subject = bpf_task_storage_get(&subjects, task, 0, 0), *before;
	struct facts *f = facts_take();
	__u32 tgid = task->tgid;

	if (!subject) {
		before = bpf_map_lookup_elem(&subject_orphans, &tgid);
		subject = bpf_task_storage_get(&subjects, task, before,
					       BPF_LOCAL_STORAGE_GET_F_CREATE);
		bpf_map_delete_elem(&subject_orphans, &tgid);
	}
	if (!subject) {
		if (f)
			facts_give_back(f);
		return 0;
	}
	if (f && subject->ready != SUBJECT_READY) {
		f->given = (__u64)task;
		subject_seed(subject, f);
	}
	if (f) {
		f->given = (__u64)bprm->file;
		subject_runs(subject, f);
		facts_give_back(f);
	} else {
		subject->flags &= ~SUBJECT_EXE;
		subject->exe_len = 0;
		subject->lineage.cut = 1;
	}
	subject->execs++;
	subject->cache.generation = 0;
	subject->ready = SUBJECT_READY;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(identity_exit, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	struct subject *subject;
	__u32 tgid = task->tgid;

	if (task->flags & PF_KTHREAD || signal->nr_threads == 1)
		return 0;
	if (!signal->live.counter) {
		bpf_map_delete_elem(&subject_orphans, &tgid);
		return 0;
	}
	if (task != task->group_leader || signal->flags & SIGNAL_GROUP_EXIT)
		return 0;
	subject = bpf_task_storage_get(&subjects, task, 0, 0);
	if (subject)
		bpf_map_update_elem(&subject_orphans, &tgid, subject, BPF_ANY);
	return 0;
}

SEC("iter/task")
int identity_seed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct subject *subject;
	struct facts *f;

	if (!task || task->pid != task->tgid || task->flags & PF_KTHREAD)
		return 0;
	subject = bpf_task_storage_get(&subjects, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!subject ||
	    __sync_val_compare_and_swap(&subject->ready, SUBJECT_NEW, SUBJECT_BUSY) != SUBJECT_NEW)
		return 0;
	f = facts_take();
	if (!f) {
		subject->ready = SUBJECT_NEW; /* when it is needed first */
		return 0;
	}
	f->given = (__u64)task;
	subject_seed(subject, f);
	facts_give_back(f);
	subject->ready = SUBJECT_READY;
	return 0;
}
