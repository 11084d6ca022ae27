// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * agree.bpf.c - evaluates rules for facts that the caller put together
 *
 * Program: syscall (Linux 5.14), run by BPF_PROG_RUN: for tests and measurements, on kernels that load no
 *          LSM program too. It hangs at nothing.
 * Reads:   rules, given (facts)
 * Writes:  made (outcomes, at the same places)
 * Returns: how many it evaluated
 */
#include "../kernel.h"

#include <bpf/bpf_helpers.h>

#include "../plane.h"
#include "../rules.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How many events are evaluated by one run, at most. */
#define AT_ONCE 64

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AT_ONCE);
	__type(key, __u32);
	__type(value, struct facts);
} given SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AT_ONCE);
	__type(key, __u32);
	__type(value, struct outcome);
} made SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rules_room);
} rooms SEC(".maps");

/* What one run is to do. */
struct request {
	__u32 count;  /* events to evaluate: the first of `given` */
	__u32 rounds; /* how often each, for measurements */
};

struct agreeing {
	struct rules_room *room;
	__u32 count;
	__u32 at;
};

static int evaluate_one(__u32 step, struct agreeing *agreeing)
{
	struct outcome *outcome;
	struct facts *facts;
	__u32 at = agreeing->at;

	agreeing->at = at + 1 < agreeing->count ? at + 1 : 0;
	facts = bpf_map_lookup_elem(&given, &at);
	outcome = bpf_map_lookup_elem(&made, &at);
	if (!facts || !outcome)
		return 1;
	rules_decide(facts, agreeing->room);
	*outcome = agreeing->room->out;
	return 0;
}

SEC("syscall")
int agree(struct request *request)
{
	struct agreeing agreeing = {.count = request->count};
	__u32 zero = 0;

	agreeing.room = bpf_map_lookup_elem(&rooms, &zero);
	if (!agreeing.room)
		return 0;
	return bpf_loop(request->count * request->rounds, evaluate_one, &agreeing, 0);
}
