/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * identify.bpf.h - a process's key, as the host makes it too (src/identity.rs: Subjects::key)
 */
#ifndef OUTRIGGER_IDENTIFY_BPF_H
#define OUTRIGGER_IDENTIFY_BPF_H

/* A clock tick of /proc/PID/stat in ns: USER_HZ is 100 on every architecture served. */
#define TICK 10000000ULL
/* How deep pid namespaces nest (linux/pid_namespace.h: MAX_PID_NS_LEVEL). */
#define LEVELS 32

/* The number of a process in the sensor's pid namespace; 0 if it is not in there. */
static __always_inline __u32 number(struct task_struct *leader)
{
	struct pid *pid;
	__u32 level, deepest;

	if (!settings.namespace)
		return leader->tgid;
	pid = leader->thread_pid;
	deepest = BPF_CORE_READ(pid, level);
	for (level = 0; level < LEVELS && level <= deepest; level++) {
		struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				  level * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(at, ns, ns.inum) == settings.namespace)
			return BPF_CORE_READ(at, nr);
	}
	return 0;
}

/* A process's key, from the task of its first thread. */
static __always_inline struct process_id identify(struct task_struct *leader)
{
	struct process_id id = {};

	if (!settings.pidfs_keys)
		id.unique = leader->start_boottime / TICK;
	else if (bpf_core_field_exists(((struct pid *)0)->ino))
		id.unique = BPF_CORE_READ(leader, thread_pid, ino);
	id.pid = number(leader);
	return id;
}

/* The same from the task's address as a number. */
static __always_inline struct process_id identify_number(__u64 address)
{
	struct task_struct *leader = (void *)address;
	struct process_id id = {};
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	__u32 level, deepest;

	if (!settings.pidfs_keys)
		id.unique = BPF_CORE_READ(leader, start_boottime) / TICK;
	else if (bpf_core_field_exists(((struct pid *)0)->ino))
		id.unique = BPF_CORE_READ(pid, ino);
	if (!settings.namespace) {
		id.pid = BPF_CORE_READ(leader, tgid);
		return id;
	}
	deepest = BPF_CORE_READ(pid, level);
	for (level = 0; level < LEVELS && level <= deepest; level++) {
		struct upid *at = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				  level * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(at, ns, ns.inum) == settings.namespace) {
			id.pid = BPF_CORE_READ(at, nr);
			break;
		}
	}
	return id;
}

#endif
