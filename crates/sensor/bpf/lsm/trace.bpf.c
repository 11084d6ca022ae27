// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * trace.bpf.c - one process traces another, or reads and writes its memory
 *
 * Hooks:   lsm/ptrace_access_check(child, mode)  ptrace(2), process_vm_*(2), pidfd_getfd(2), in /proc
 *          lsm/ptrace_traceme(parent)            PTRACE_TRACEME: the object is the subject itself
 * Since:   Linux 5.7; neither may sleep
 * Returns: what the rules say; 0 where nobody is asked
 *
 * The kernel asks one question for all of these. Which of them it is, is in the number of the system call:
 * process_vm_readv(2) and process_vm_writev(2) by themselves, /proc/PID/mem by an open that wants what
 * only a tracer that controls may have (what else is opened in /proc wants less, or asks when it is
 * read). What cannot be told apart counts as the stronger: an open by openat2(2), whose flags lie in
 * memory that another thread may have changed meanwhile, or by io_uring, counts as one for writing.
 */
#include "plane.bpf.h"
#include "call.h"

/* linux/ptrace.h */
#define PTRACE_MODE_ATTACH 0x02
#define PTRACE_MODE_FSCREDS 0x08
/* asm-generic/fcntl.h */
#define O_ACCMODE 3

enum access {
	ACCESS_TRACE,
	ACCESS_READ,
	ACCESS_WRITE,
};

static __always_inline enum access by_open(__u64 flags)
{
	return flags & O_ACCMODE ? ACCESS_WRITE : ACCESS_READ;
}

static __always_inline enum access access_of(unsigned int mode)
{
	struct call call = current_call();

	if (call.number == CALL_PROCESS_VM_READV)
		return ACCESS_READ;
	if (call.number == CALL_PROCESS_VM_WRITEV)
		return ACCESS_WRITE;
	if (!(mode & PTRACE_MODE_ATTACH) || !(mode & PTRACE_MODE_FSCREDS))
		return ACCESS_TRACE;
	switch (call.number) {
	case CALL_OPEN:
		return by_open(call.second);
	case CALL_OPENAT:
		return by_open(call.third);
	case CALL_OPEN_BY_HANDLE_AT:
		return by_open(call.third);
	case CALL_CREAT:
	case CALL_OPENAT2:
	case CALL_IO_URING:
		return ACCESS_WRITE;
	default:
		return ACCESS_TRACE;
	}
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(process_memory, struct task_struct *child, unsigned int mode, int ret)
{
	enum access access = access_of(mode);
	struct facts *f;

	if (access == ACCESS_TRACE)
		return ret;
	f = facts_begin(PROCESS_MEMORY, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, access == ACCESS_WRITE);
	facts_target(f, child);
	return facts_end_at(f, child->group_leader);
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(process_ptrace, struct task_struct *child, unsigned int mode, int ret)
{
	struct facts *f;

	if (access_of(mode) != ACCESS_TRACE)
		return ret;
	f = facts_begin(PROCESS_PTRACE, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (mode & PTRACE_MODE_ATTACH) != 0);
	facts_target(f, child);
	return facts_end_at(f, child->group_leader);
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(process_ptrace_traceme, struct task_struct *parent, int ret)
{
	struct facts *f = facts_begin(PROCESS_PTRACE, ret);
	struct task_struct *task;

	if (!f)
		return ret;
	task = bpf_get_current_task_btf();
	facts_number(f, PLACE_VALUE0, 1);
	facts_target(f, task);
	return facts_end_at(f, task->group_leader);
}
