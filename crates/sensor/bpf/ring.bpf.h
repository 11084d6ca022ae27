/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * ring.bpf.h - whether a record that was put into a ring wakes who reads it
 */
#ifndef OUTRIGGER_RING_BPF_H
#define OUTRIGGER_RING_BPF_H

/* wake_at: no more wake-ups until the reader says otherwise. */
#define RING_NEVER 0xffffffffU

/*
 * Whether to wake the reader for a record that has been reserved. The reader writes wake_at, then looks
 * whether anything is reserved; here it is the other way round, with a full barrier between (the atomic
 * addition). So one of the two sees the other, and no record is left lying.
 */
static __always_inline __u64 ring_wake(void *ring, __u32 *wake_at)
{
	__u32 wanted = __sync_fetch_and_add(wake_at, 0);

	if (wanted == RING_NEVER)
		return BPF_RB_NO_WAKEUP;
	if (wanted > 1 && bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < wanted)
		return BPF_RB_NO_WAKEUP;
	if (__sync_lock_test_and_set(wake_at, RING_NEVER) == RING_NEVER)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

#endif
