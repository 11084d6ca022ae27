// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * process.bpf.c - what one process does to another: signals and resource limits
 *
 * Hooks:   lsm/task_kill(p, info, sig, cred)       kill(2), tkill(2), pidfd_send_signal(2)
 *          lsm/task_setrlimit(p, resource, limit)  setrlimit(2), prlimit(2)
 * Since:   Linux 5.7; neither may sleep
 * Returns: what the rules say; 0 where nobody is asked
 *
 * A signal that the kernel sends by itself, for the terminal, a timer or a fault, comes by no hook.
 */
#include "plane.bpf.h"

/* The largest number that rules know. */
#define LARGEST (~0ULL >> 1)

SEC("lsm/task_kill")
int BPF_PROG(process_signal, struct task_struct *p, void *info, int sig,
	     const struct cred *cred, int ret)
{
	struct facts *f;

	/* Sent for somebody else: whoever runs now has nothing to do with it. */
	if (argument(ctx, 3))
		return ret;
	f = facts_begin(PROCESS_SIGNAL, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (__u32)sig);
	facts_target(f, p);
	return facts_end_at(f, p->group_leader);
}

SEC("lsm/task_setrlimit")
int BPF_PROG(process_limits, struct task_struct *p, unsigned int resource, struct rlimit *limit,
	     int ret)
{
	struct facts *f = facts_begin(PROCESS_LIMITS, ret);
	__u64 soft;

	if (!f)
		return ret;
	soft = limit->rlim_cur;
	facts_number(f, PLACE_VALUE0, resource);
	facts_number(f, PLACE_VALUE1, soft > LARGEST ? LARGEST : soft);
	facts_target(f, p);
	return facts_end_at(f, p->group_leader);
}
