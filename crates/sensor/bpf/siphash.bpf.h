/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * siphash.bpf.h - SipHash-2-4 of a text among the facts, with the key that the loader chose
 *
 * By this a program's path stands in lineages. Who does not know the key cannot make two paths that
 * are taken for each other (Aumasson and Bernstein, 2012).
 */
#ifndef OUTRIGGER_SIPHASH_BPF_H
#define OUTRIGGER_SIPHASH_BPF_H

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LITTLE_ENDIAN_64(value) (value)
#else
#define LITTLE_ENDIAN_64(value) __builtin_bswap64(value)
#endif

#define ROTATED(value, by) ((value) << (by) | (value) >> (64 - (by)))

static __always_inline void sip_round(__u64 *v)
{
	v[0] += v[1];
	v[1] = ROTATED(v[1], 13) ^ v[0];
	v[0] = ROTATED(v[0], 32);
	v[2] += v[3];
	v[3] = ROTATED(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = ROTATED(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = ROTATED(v[1], 17) ^ v[2];
	v[2] = ROTATED(v[2], 32);
}

static __always_inline void sip_word(__u64 *v, __u64 word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

struct sip_walk {
	struct facts *facts;
	__u32 at;
};

static int sip_step(__u32 step, struct sip_walk *walk)
{
	struct facts *f = walk->facts;
	__u64 word;

	if (walk->at >= FACTS_PATH)
		return 1;
	bpf_probe_read_kernel(&word, sizeof(word), &f->path[walk->at & (FACTS_PATH - 1)]);
	walk->at += sizeof(word);
	sip_word(f->mixed, LITTLE_ENDIAN_64(word));
	return 0;
}

/* The hash of the text that begins at `at` in f->path and ends with the room. */
static __always_inline __u64 sip_path(struct facts *f, __u32 at, __u64 key0, __u64 key1)
{
	struct sip_walk walk = {.facts = f, .at = at};
	__u32 len = FACTS_PATH - at, rest = len & 7;
	__u64 last = 0;
	__u64 *v = f->mixed;

	v[0] = key0 ^ 0x736f6d6570736575ULL;
	v[1] = key1 ^ 0x646f72616e646f6dULL;
	v[2] = key0 ^ 0x6c7967656e657261ULL;
	v[3] = key1 ^ 0x7465646279746573ULL;
	bpf_loop(len / 8, sip_step, &walk, 0);
	if (rest)
		bpf_probe_read_kernel(&last, rest, &f->path[(FACTS_PATH - rest) & (FACTS_PATH - 1)]);
	sip_word(v, LITTLE_ENDIAN_64(last) | (__u64)len << 56);
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
