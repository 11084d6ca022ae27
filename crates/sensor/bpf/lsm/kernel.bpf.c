// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * kernel.bpf.c - what changes the kernel itself, or looks into it
 *
 * Hooks:   lsm/kernel_read_file(file, id, contents)  finit_module(2), kexec_file_load(2)
 *          lsm/kernel_load_data(id, contents)        init_module(2), kexec_load(2): no file
 *          lsm/bpf(command, attr, size)              bpf(2), here BPF_PROG_LOAD
 *          lsm/locked_down(what), lsm/kernel_module_request(name), lsm/settime(time, zone)
 *          lsm/perf_event_open(attr, type)           perf_event_open(2); without attr since Linux 6.15
 * Since:   Linux 5.9; none sleeps here
 * Returns: what the rules say; 0 where nobody is asked
 *
 * What adjtimex(2) does to the clock comes by no hook.
 */
#include "plane.bpf.h"

/* The kernel's own names; their numbers are taken from the running one. */
enum kernel_read_file_id {
	READING_MODULE = 2,
	READING_KEXEC_IMAGE = 3,
	READING_MODULE_COMPRESSED = 7, /* Linux 7 */
};

enum kernel_load_data_id {
	LOADING_MODULE = 2,
	LOADING_KEXEC_IMAGE = 3,
};

#define IS(id, type, name) ((id) == bpf_core_enum_value(enum type, name))

/* uapi/linux/bpf.h */
#define BPF_PROG_LOAD 5
/* linux/security.h: the first question of perf_event_open(2); others follow for what it wants to see */
#define PERF_SECURITY_OPEN 0

static __always_inline int is_module(enum kernel_read_file_id id)
{
	if (bpf_core_enum_value_exists(enum kernel_read_file_id, READING_MODULE_COMPRESSED) &&
	    IS(id, kernel_read_file_id, READING_MODULE_COMPRESSED))
		return 1;
	return IS(id, kernel_read_file_id, READING_MODULE);
}

static __always_inline int of_file(struct facts *f, struct file *file)
{
	facts_number(f, PLACE_VALUE0, 0);
	facts_file(f, file);
	return facts_end_of(f, file->f_inode);
}

static __always_inline int of_memory(struct facts *f)
{
	facts_number(f, PLACE_VALUE0, 1);
	facts_nowhere(f);
	return facts_end(f);
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_module_load, struct file *file, enum kernel_read_file_id id, int contents, int ret)
{
	struct facts *f;

	if (!is_module(id))
		return ret;
	f = facts_begin(KERNEL_MODULE_LOAD, ret);
	return f ? of_file(f, file) : ret;
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_module_load_memory, enum kernel_load_data_id id, int contents, int ret)
{
	struct facts *f;

	if (!IS(id, kernel_load_data_id, LOADING_MODULE))
		return ret;
	f = facts_begin(KERNEL_MODULE_LOAD, ret);
	return f ? of_memory(f) : ret;
}

SEC("lsm/kernel_read_file")
int BPF_PROG(kernel_kexec, struct file *file, enum kernel_read_file_id id, int contents, int ret)
{
	struct facts *f;

	if (!IS(id, kernel_read_file_id, READING_KEXEC_IMAGE))
		return ret;
	f = facts_begin(KERNEL_KEXEC, ret);
	return f ? of_file(f, file) : ret;
}

SEC("lsm/kernel_load_data")
int BPF_PROG(kernel_kexec_memory, enum kernel_load_data_id id, int contents, int ret)
{
	struct facts *f;

	if (!IS(id, kernel_load_data_id, LOADING_KEXEC_IMAGE))
		return ret;
	f = facts_begin(KERNEL_KEXEC, ret);
	return f ? of_memory(f) : ret;
}

SEC("lsm/bpf")
int BPF_PROG(kernel_bpf_load, int command, union bpf_attr *attr)
{
	struct facts *f;

	if (command != BPF_PROG_LOAD)
		return 0;
	f = facts_begin(KERNEL_BPF_LOAD, 0);
	if (!f)
		return 0;
	facts_number(f, PLACE_VALUE0, BPF_CORE_READ(attr, prog_type));
	return facts_end(f);
}

SEC("lsm/locked_down")
int BPF_PROG(kernel_lockdown, int what, int ret)
{
	struct facts *f = facts_begin(KERNEL_LOCKDOWN, ret);

	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, (__u32)what);
	return facts_end(f);
}

SEC("lsm/kernel_module_request")
int BPF_PROG(kernel_module_request, const char *name, int ret)
{
	struct facts *f = facts_begin(KERNEL_MODULE_REQUEST, ret);

	if (!f)
		return ret;
	facts_text(f, name);
	return facts_end(f);
}

SEC("lsm/settime")
int BPF_PROG(kernel_settime, const struct timespec64 *time, const void *zone, int ret)
{
	struct facts *f;
	__s64 seconds;

	/* It may be that only the zone is set. */
	if (!argument(ctx, 0))
		return ret;
	f = facts_begin(KERNEL_SETTIME, ret);
	if (!f)
		return ret;
	seconds = time->tv_sec;
	facts_number(f, PLACE_VALUE0, seconds < 0 ? 0 : seconds);
	return facts_end(f);
}

SEC("lsm/perf_event_open")
int BPF_PROG(kernel_perf_open, const struct perf_event_attr *attr, int type, int ret)
{
	struct facts *f;

	if (type != PERF_SECURITY_OPEN)
		return ret;
	f = facts_begin(KERNEL_PERF_OPEN, ret);
	if (!f)
		return ret;
	facts_number(f, PLACE_VALUE0, attr->type);
	return facts_end(f);
}

/* Of kernels whose hook does not say what is opened. Where the other one loads, this is not tried. */
SEC("lsm/perf_event_open")
int BPF_PROG(kernel_perf_open_bare, int type, int ret)
{
	struct facts *f;

	if (type != PERF_SECURITY_OPEN)
		return ret;
	f = facts_begin(KERNEL_PERF_OPEN, ret);
	return f ? facts_end(f) : ret;
}
