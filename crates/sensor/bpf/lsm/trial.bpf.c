// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * trial.bpf.c - whether BPF LSM programs are taken and called at all
 *
 * Hook:    lsm/file_open, Linux 5.7
 * Writes:  trial_calls
 * Returns: what the hooks before it said
 *
 * A kernel that was booted without "bpf" among its security modules loads such a program and never calls
 * it. So the loader attaches this one, opens a file, and looks.
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} trial_calls SEC(".maps");

SEC("lsm/file_open")
int BPF_PROG(trial, struct file *file, int ret)
{
	__u32 zero = 0;
	__u32 *calls = bpf_map_lookup_elem(&trial_calls, &zero);

	if (calls)
		__sync_fetch_and_add(calls, 1);
	return ret;
}
