/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * subject.bpf.h - what is remembered of a process, and the facts of it
 *
 * A process gets its memory when it is forked (identity.bpf.c), from its parent's. One that is older
 * than the sensor gets it at the sensor's start, or when it is first needed: its lineage are then the
 * programs that it and its ancestors run at that time.
 */
#ifndef OUTRIGGER_SUBJECT_BPF_H
#define OUTRIGGER_SUBJECT_BPF_H

/* Longest line of ancestors that is followed for a process older than the sensor. */
#define SUBJECT_ANCESTORS 64
/* How deep control groups lie that have a path here. */
#define SUBJECT_GROUPS 64

enum subject_ready {
	SUBJECT_NEW,
	SUBJECT_BUSY,
	SUBJECT_READY,
};

/* Adds a program to a lineage, once. */
static __always_inline void lineage_add(struct lineage_set *lineage, __u64 program)
{
	__u32 i, len = lineage->len;

	for (i = 0; i < FACTS_LINEAGE; i++) {
		if (i >= len)
			break;
		if (lineage->programs[i] == program)
			return;
	}
	if (len >= FACTS_LINEAGE) {
		lineage->cut = 1;
		return;
	}
	lineage->programs[len & (FACTS_LINEAGE - 1)] = program;
	lineage->len = len + 1;
}

/* The hash of a program's path, which is left in f->path; 0 if it is not known. */
static __always_inline __u64 hash_program(struct facts *f, __u64 file)
{
	struct file *program = (void *)file;

	if (!program)
		return 0;
	f->object.mnt = (__u64)BPF_CORE_READ(program, f_path.mnt);
	f->object.dentry = (__u64)BPF_CORE_READ(program, f_path.dentry);
	if (!find_path(f, &f->object, 0))
		return 0;
	return sip_path(f, f->walk.at, settings.key[0], settings.key[1]);
}

/* The process runs the program f->given (struct file) from now on. `f` is room to walk in. */
__noinline int subject_runs(struct subject *subject, struct facts *f)
{
	__u64 program;
	__u32 at, len;

	if (!subject || !f)
		return 0;
	program = hash_program(f, f->given);
	subject->flags &= ~SUBJECT_EXE;
	subject->exe_len = 0;
	if (!program) {
		subject->lineage.cut = 1;
		return 0;
	}
	at = f->walk.at;
	len = FACTS_PATH - at;
	if (at < FACTS_PATH && len < FACTS_SHORT) {
		bpf_probe_read_kernel(subject->exe, len & (FACTS_SHORT - 1), &f->path[at]);
		subject->exe_len = len;
		subject->flags |= SUBJECT_EXE;
	}
	lineage_add(&subject->lineage, program);
	return 0;
}

struct ancestry {
	struct subject *subject;
	struct facts *facts;
	__u64 task;
};

static int add_ancestor(__u32 step, struct ancestry *at)
{
	struct task_struct *task = (void *)at->task, *parent;
	__u64 program;

	parent = BPF_CORE_READ(task, real_parent, group_leader);
	if (!parent || parent == task || !BPF_CORE_READ(parent, mm))
		return 1;
	program = hash_program(at->facts, (__u64)BPF_CORE_READ(parent, mm, exe_file));
	if (program)
		lineage_add(&at->subject->lineage, program);
	else
		at->subject->lineage.cut = 1;
	at->task = (__u64)parent;
	return 0;
}

/* Fills the memory of the process f->given (struct task_struct), which is older than the sensor. */
__noinline int subject_seed(struct subject *subject, struct facts *f)
{
	struct ancestry at;
	__u64 task;

	if (!subject || !f || !f->given)
		return 0;
	task = f->given;
	subject->parent = identify_number(
		(__u64)BPF_CORE_READ((struct task_struct *)task, real_parent, group_leader));
	f->given = (__u64)BPF_CORE_READ((struct task_struct *)task, mm, exe_file);
	subject_runs(subject, f);
	at.subject = subject;
	at.facts = f;
	at.task = task;
	if (bpf_loop(SUBJECT_ANCESTORS, add_ancestor, &at, 0) == SUBJECT_ANCESTORS)
		subject->lineage.cut = 1;
	return 0;
}

/* Copies what is remembered of a process into facts. */
static __always_inline void copy_lineage(struct lineage_set *to, struct lineage_set *from)
{
	__builtin_memcpy(to, from, sizeof(*to));
}

static __always_inline void subject_of_target(struct facts *f, struct task_struct *leader)
{
	struct subject *subject = bpf_task_storage_get(&subjects, leader, 0, 0);

	if (!subject || subject->ready != SUBJECT_READY) {
		f->target_lineage.cut = 1;
		return;
	}
	copy_lineage(&f->target_lineage, &subject->lineage);
	f->object_marks = subject->marks.bits;
	if (subject->flags & SUBJECT_EXE) {
		__builtin_memcpy(f->target_exe, subject->exe, sizeof(f->target_exe));
		f->texts[PLACE_TARGET_EXE - PLACE_EXE].len = subject->exe_len;
		f->has |= 1ULL << PLACE_TARGET_EXE;
	}
}

struct group_walk {
	struct facts *facts;
	__u64 node;
	__u32 at;
	__u32 whole;
};

static __always_inline struct kernfs_node *node_above(struct kernfs_node *node)
{
	struct kernfs_node___since_6_15 *since = (void *)node;

	if (bpf_core_field_exists(since->__parent))
		return (void *)BPF_CORE_READ(since, __parent);
	return BPF_CORE_READ(node, parent);
}

/* Puts the name of a control group before what stands at the end of f->path. */
static int group_up(__u32 step, struct group_walk *walk)
{
	struct kernfs_node *node = (void *)walk->node, *above = node_above(node);
	struct facts *f = walk->facts;
	long copied;
	__u32 at = walk->at;

	if (!above) {
		walk->whole = 1;
		return 1;
	}
	/* To the front of the room first: its length is not known before. */
	copied = bpf_probe_read_kernel_str(f->path, FACTS_SHORT, BPF_CORE_READ(node, name));
	if (copied <= 1 || copied >= FACTS_SHORT || at < copied + FACTS_PATH - FACTS_SHORT)
		return 1;
	at -= copied - 1;
	bpf_probe_read_kernel(&f->path[at & (FACTS_PATH - 1)], (copied - 1) & (FACTS_SHORT - 1),
			      f->path);
	at--;
	f->path[at & (FACTS_PATH - 1)] = '/';
	walk->at = at;
	walk->node = (__u64)above;
	return 0;
}

/* The path of the current process's control group, into f->cgroup. Uses the room of the path. */
static __always_inline void facts_cgroup(struct facts *f)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct group_walk walk = {
		.facts = f,
		.node = (__u64)BPF_CORE_READ(task, cgroups, dfl_cgrp, kn),
		.at = FACTS_PATH,
	};
	__u32 len;

	bpf_loop(SUBJECT_GROUPS, group_up, &walk, 0);
	if (!walk.whole)
		return;
	if (walk.at == FACTS_PATH) {
		walk.at--;
		f->path[FACTS_PATH - 1] = '/';
	}
	len = FACTS_PATH - walk.at;
	if (walk.at >= FACTS_PATH || len >= FACTS_SHORT)
		return;
	bpf_probe_read_kernel(f->cgroup, len & (FACTS_SHORT - 1), &f->path[walk.at & (FACTS_PATH - 1)]);
	f->texts[PLACE_CGROUP - PLACE_EXE].len = len;
	f->has |= 1ULL << PLACE_CGROUP;
}

/* What is remembered of the current process; it is filled if it was not. NULL without memory. */
static __always_inline struct subject *subject_current(struct facts *f)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct subject *subject;

	subject = bpf_task_storage_get(&subjects, leader, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!subject || subject->ready == SUBJECT_READY)
		return subject;
	if (__sync_val_compare_and_swap(&subject->ready, SUBJECT_NEW, SUBJECT_BUSY) != SUBJECT_NEW)
		return 0; /* another thread is at it */
	f->given = (__u64)leader;
	subject_seed(subject, f);
	subject->ready = SUBJECT_READY;
	return subject;
}

/*
 * Fills in what the facts have of the current process besides its user and group: program, control
 * group, lineage, marks. To be called before the paths are walked to, which it uses the room of.
 */
__noinline int facts_subject(struct facts *f)
{
	struct subject *subject;
	struct spot object;

	if (!f || f->state & FACTS_SUBJECT)
		return 0;
	f->state |= FACTS_SUBJECT;
	object = f->object;
	facts_cgroup(f);
	subject = subject_current(f);
	f->object = object;
	f->state &= ~FACTS_WALKED;
	if (!subject) {
		f->lineage.cut = 1;
		return 0;
	}
	copy_lineage(&f->lineage, &subject->lineage);
	f->marks = subject->marks.bits;
	if (subject->flags & SUBJECT_EXE) {
		f->has |= 1ULL << PLACE_EXE;
		__builtin_memcpy(f->exe, subject->exe, sizeof(f->exe));
		f->texts[PLACE_EXE - PLACE_EXE].len = subject->exe_len;
	}
	return 0;
}

#endif
