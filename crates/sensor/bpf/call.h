/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * call.h - which system call the running task is in
 *
 * For hooks that the kernel reaches on more than one way. A task changes its own registers by nothing
 * but a tracer, which the kernel lets do so only where the call begins; what is read here is what the
 * kernel went by.
 */
#ifndef OUTRIGGER_CALL_H
#define OUTRIGGER_CALL_H

/* Numbers of our own: the kernel's differ by processor, and by the width of the caller. */
enum call_number {
	CALL_OTHER,
	CALL_OPEN,
	CALL_CREAT,
	CALL_OPENAT,
	CALL_OPENAT2,
	CALL_OPEN_BY_HANDLE_AT,
	CALL_IO_URING, /* io_uring_enter(2), or one of its workers, which are in no call */
	CALL_PROCESS_VM_READV,
	CALL_PROCESS_VM_WRITEV,
	CALL_MOUNT,
};

struct call {
	enum call_number number;
	__u64 second; /* arguments */
	__u64 third;
};

#define PF_IO_WORKER 0x00000010
#define TS_COMPAT 0x0002	     /* arch/x86: in a call of 32 bits */
#define X32_CALL 0x40000000UL	     /* a call of 64 bits by a caller of 32 */

static __always_inline enum call_number call_of_x86(__u64 number)
{
	switch (number & ~X32_CALL) {
	case 2:
		return CALL_OPEN;
	case 85:
		return CALL_CREAT;
	case 165:
		return CALL_MOUNT;
	case 257:
		return CALL_OPENAT;
	case 304:
		return CALL_OPEN_BY_HANDLE_AT;
	case 310:
	case 539: /* x32 */
		return CALL_PROCESS_VM_READV;
	case 311:
	case 540: /* x32 */
		return CALL_PROCESS_VM_WRITEV;
	case 426:
		return CALL_IO_URING;
	case 437:
		return CALL_OPENAT2;
	}
	return CALL_OTHER;
}

static __always_inline enum call_number call_of_i386(__u64 number)
{
	switch (number) {
	case 5:
		return CALL_OPEN;
	case 8:
		return CALL_CREAT;
	case 21:
		return CALL_MOUNT;
	case 295:
		return CALL_OPENAT;
	case 342:
		return CALL_OPEN_BY_HANDLE_AT;
	case 347:
		return CALL_PROCESS_VM_READV;
	case 348:
		return CALL_PROCESS_VM_WRITEV;
	case 426:
		return CALL_IO_URING;
	case 437:
		return CALL_OPENAT2;
	}
	return CALL_OTHER;
}

/* asm-generic/unistd.h, of arm64 and later architectures */
static __always_inline enum call_number call_of_generic(__u64 number)
{
	switch (number) {
	case 40:
		return CALL_MOUNT;
	case 56:
		return CALL_OPENAT;
	case 265:
		return CALL_OPEN_BY_HANDLE_AT;
	case 270:
		return CALL_PROCESS_VM_READV;
	case 271:
		return CALL_PROCESS_VM_WRITEV;
	case 426:
		return CALL_IO_URING;
	case 437:
		return CALL_OPENAT2;
	}
	return CALL_OTHER;
}

static __always_inline struct call current_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	struct call call = {};

	if (task->flags & PF_IO_WORKER) {
		call.number = CALL_IO_URING;
		return call;
	}
	if (bpf_core_field_exists(regs->orig_ax)) {
		__u64 number = BPF_CORE_READ(regs, orig_ax);

		if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
			call.number = call_of_i386(number & 0xffffffff);
			call.second = BPF_CORE_READ(regs, cx);
			call.third = BPF_CORE_READ(regs, dx);
		} else {
			call.number = call_of_x86(number);
			call.second = BPF_CORE_READ(regs, si);
			call.third = BPF_CORE_READ(regs, dx);
		}
	} else if (bpf_core_field_exists(((struct pt_regs___arm64 *)regs)->syscallno)) {
		struct pt_regs___arm64 *arm = (void *)regs;

		call.number = call_of_generic(BPF_CORE_READ(arm, syscallno));
		call.second = BPF_CORE_READ(arm, regs[1]);
		call.third = BPF_CORE_READ(arm, regs[2]);
	}
	return call;
}

#endif
