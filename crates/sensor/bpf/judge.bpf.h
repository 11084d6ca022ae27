/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * judge.bpf.h - what the rules in force make of an event, with what is kept of subjects and files
 */
#ifndef OUTRIGGER_JUDGE_BPF_H
#define OUTRIGGER_JUDGE_BPF_H

#include "kept.bpf.h"

/* Marks of files: as long as the inode is in memory. */
struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark_set);
} file_marks SEC(".maps");

struct marks_at {
	struct mark_set *set;
	struct rules_header *head;
	__u64 bits;
	__u64 now;
};

static int mark_step(__u32 step, struct marks_at *at)
{
	__u32 bit = within(step, RULES_MARKS - 1);

	if (!(at->set->bits >> bit & 1))
		return 0;
	if (at->set->put[bit] < at->head->since[bit])
		return 0;
	if (bit < MARKS_TIMED && at->set->until[bit] && at->set->until[bit] <= at->now)
		return 0;
	at->bits |= 1ULL << bit;
	return 0;
}

/* The marks of a set that count now, by the rules in force. */
__noinline __u64 marks_now(struct mark_set *set, struct rules_room *room)
{
	struct evaluation e;
	struct marks_at at;

	if (!set || !room || !set->bits || !rules_set(&e, 0, room))
		return 0;
	at.set = set;
	at.head = e.head;
	at.bits = 0;
	at.now = bpf_ktime_get_ns();
	bpf_loop(RULES_MARKS, mark_step, &at, 0);
	return at.bits;
}

static int put_step(__u32 step, struct marks_at *at)
{
	__u32 bit = within(step, RULES_MARKS - 1);
	__u64 seconds;

	if (!(at->bits >> bit & 1))
		return 0;
	if (bit < MARKS_TIMED) {
		seconds = at->head->seconds[bit];
		at->set->until[bit] = seconds ? at->now + seconds * 1000000000ULL : 0;
	}
	at->set->put[bit] = at->head->generation;
	/* Behind the others: whoever sees the bit sees these too. */
	__sync_fetch_and_or(&at->set->bits, 1ULL << bit);
	return 0;
}

/* Puts marks into a set; gives those of them that children get too. */
__noinline __u64 marks_put(struct mark_set *set, struct rules_room *room, __u64 bits)
{
	struct evaluation e;
	struct marks_at at;

	if (!set || !room || !rules_set(&e, 0, room))
		return 0;
	at.set = set;
	at.head = e.head;
	at.bits = bits;
	at.now = bpf_ktime_get_ns();
	bpf_loop(RULES_MARKS, put_step, &at, 0);
	return bits & e.head->inherited;
}

/* Keeps the compiler from making a loop a call of memcpy or memset, which there is none of. */
static __always_inline void one_by_one(void)
{
	asm volatile("" ::: "memory");
}

/*
 * Vectors are gone through by functions of their own, which the verifier looks at once: each end of each
 * of their loops would else be another way through all that follows.
 */
struct rules_vector {
	__u64 words[RULES_WORDS];
};

/* room->v = everything: the beginning of a vector that is kept for all events. */
__noinline int rules_fill(struct rules_room *room)
{
	__u32 i, words;

	if (!room)
		return 0;
	words = room->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++) {
		room->v[i] = ~0ULL;
		one_by_one();
	}
	return 0;
}

__noinline int rules_copy(struct rules_vector *to, struct rules_vector *from, __u32 words)
{
	__u32 i;

	if (!to || !from)
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++) {
		to->words[i] = from->words[i];
		one_by_one();
	}
	return 0;
}

/* room->kept &= vector; room->left says whether anything is. */
__noinline int rules_keep(struct rules_room *room, struct rules_vector *vector)
{
	__u32 i, words;
	__u64 any = 0;

	if (!room || !vector)
		return 0;
	words = room->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		any |= room->kept[i] &= vector->words[i];
	room->left = any;
	return 0;
}

/* A vector of a structure. */
static __always_inline struct rules_vector *vector(__u64 *words)
{
	return (struct rules_vector *)words;
}

/* The vector of the subject; false if it was written meanwhile. */
__noinline int judge_subject(struct facts *f, struct rules_room *room)
{
	struct subject *subject = 0;
	struct subject_cache *cache;
	struct evaluation e;
	__u64 group;
	__u32 sequence;

	if (!f || !room || !rules_set(&e, f, room))
		return 0;
	if (room->cached)
		subject = bpf_task_storage_get(&subjects, bpf_get_current_task_btf()->group_leader,
					       0, 0);
	if (!subject || subject->ready != SUBJECT_READY) {
		facts_subject(f);
		subject = bpf_task_storage_get(&subjects, bpf_get_current_task_btf()->group_leader,
					       0, 0);
	}
	f->marks = subject && e.head->tables & 1 << RULES_SUBJECT_MARKS
			   ? marks_now(&subject->marks, room)
			   : 0;
	group = bpf_get_current_cgroup_id();
	if (subject && room->cached) {
		cache = &subject->cache;
		sequence = cache->busy;
		read_in_order(&room->value[1]);
		if (!(sequence & 1) && cache->generation == room->out.generation &&
		    cache->marks == f->marks && cache->cgroup == group &&
		    cache->uid == f->numbers[PLACE_SUBJECT_UID] &&
		    cache->gid == f->numbers[PLACE_SUBJECT_GID] && cache->execs == subject->execs) {
			rules_keep(room, vector(cache->vector));
			read_in_order(&room->value[1]);
			room->subject_was = sequence;
			return cache->busy == sequence;
		}
	}
	room->execs = subject ? subject->execs : 0;
	if (!(f->state & FACTS_SUBJECT)) {
		/* It takes the marks as they are; those that count are known. */
		__u64 marks = f->marks;

		facts_subject(f);
		f->marks = marks;
	}
	rules_fill(room);
	and_tables(f, room, e.head->numbers & RULES_SUBJECT_NUMBERS,
		   e.head->tables & RULES_SUBJECT_TABLES);
	rules_keep(room, vector(room->v));
	if (!subject || subject->ready != SUBJECT_READY || subject->execs != room->execs ||
	    room->out.flags & (RULED_CHANGED | RULED_BROKEN) || !take_cache(&subject->cache.busy))
		return 1;
	cache = &subject->cache;
	cache->generation = room->out.generation;
	cache->marks = f->marks;
	cache->cgroup = group;
	cache->uid = f->numbers[PLACE_SUBJECT_UID];
	cache->gid = f->numbers[PLACE_SUBJECT_GID];
	cache->execs = room->execs;
	cache->nothing = 0;
	__builtin_memset(cache->quiet, 0, sizeof(cache->quiet));
	rules_copy(vector(cache->vector), vector(room->v), room->words);
	give_cache_back(&cache->busy);
	return 1;
}

/* The vector of the object; false if it was written meanwhile. */
__noinline int judge_object(struct facts *f, struct rules_room *room, struct file_cache *cache)
{
	struct evaluation e;
	__u32 numbers, tables, busy;
	int keeps;

	if (!f || !room || !rules_set(&e, f, room))
		return 0;
	keeps = room->cached && f->state & FACTS_KEPT;
	if (keeps && !cache)
		room->keeps = 1;
	if (keeps && cache) {
		busy = cache->busy;
		read_in_order(&room->value[1]);
		if (!(busy & 1) && cache->generation == room->out.generation &&
		    cache->marks == f->object_marks && same_file(&cache->of, &room->file)) {
			rules_keep(room, vector(cache->vector));
			read_in_order(&room->value[1]);
			return cache->busy == busy;
		}
	}
	numbers = e.head->numbers & RULES_OBJECT_NUMBERS;
	tables = e.head->tables & RULES_OBJECT_TABLES;
	facts_walk(f);
	rules_fill(room);
	and_tables(f, room, numbers, tables);
	rules_keep(room, vector(room->v));
	if (!keeps || !cache || !(f->state & FACTS_STABLE) || !f->numbers[PLACE_PATH_KNOWN] ||
	    f->walk.renames != room->file.renames || f->walk.mounts != room->file.mounts ||
	    room->out.flags & (RULED_CHANGED | RULED_BROKEN) || !take_cache(&cache->busy))
		return 1;
	cache->generation = room->out.generation;
	cache->marks = f->object_marks;
	cache->of = room->file;
	cache->nothing = 0;
	rules_copy(vector(cache->vector), vector(room->v), room->words);
	give_cache_back(&cache->busy);
	return 1;
}

/* What is neither the subject's nor a file's. */
#define ARGUMENT_NUMBERS (~(RULES_SUBJECT_NUMBERS | RULES_OBJECT_NUMBERS))
#define ARGUMENT_TABLES (~(RULES_SUBJECT_TABLES | RULES_OBJECT_TABLES))
/* The length of the other path, and its atoms. */
#define NEW_PATH_NUMBERS (1 << (RULES_LENGTHS + PLACE_NEW_PATH - PLACE_EXE))
#define NEW_PATH_TABLES (1 << (PLACE_NEW_PATH - PLACE_EXE))

/* One try. Whether it is to be believed: nothing of what it read was written meanwhile. */
static __always_inline int judge_once(struct facts *f, struct rules_room *room,
				      struct file_cache *cache)
{
	__u32 numbers, tables;

	if (!rules_begin(f, room))
		return !(room->out.flags & RULED_CHANGED);
	numbers = room->numbers;
	tables = room->tables;
	rules_copy(vector(room->kept), vector(room->v), room->words);
	room->left = 1;
	/* What is kept of the endpoint is kept at the subject. */
	if ((numbers & RULES_SUBJECT_NUMBERS || tables & RULES_SUBJECT_TABLES ||
	     f->state & FACTS_QUIET) &&
	    !judge_subject(f, room))
		return 0;
	if (room->left && (numbers & RULES_OBJECT_NUMBERS || tables & RULES_OBJECT_TABLES) &&
	    !judge_object(f, room, cache))
		return 0;
	if (!room->left)
		return !(room->out.flags & RULED_CHANGED);
	numbers &= ARGUMENT_NUMBERS;
	tables &= ARGUMENT_TABLES;
	if (numbers & NEW_PATH_NUMBERS || tables & NEW_PATH_TABLES)
		facts_walk(f);
	rules_copy(vector(room->v), vector(room->kept), room->words);
	if (numbers | tables)
		and_tables(f, room, numbers, tables);
	return rules_end(f, room);
}

/* With the caches, without them, and once more if the set was replaced as well. */
#define JUDGE_TRIES 3

/*
 * What the rules in force make of an event, into room->out. `cache` is what is kept at the object's inode,
 * NULL if nothing is.
 */
__noinline int judge(struct facts *f, struct rules_room *room, struct file_cache *cache)
{
	int try;

	if (!f || !room)
		return 0;
	room->cached = 1;
	room->keeps = 0;
	room->subject_was = 1;
#pragma clang loop unroll(disable)
	for (try = 0; try < JUDGE_TRIES; try++) {
		if (judge_once(f, room, cache))
			return 1;
		room->cached = 0;
	}
	room->out.flags |= RULED_BROKEN;
	return 0;
}

/* Puts the marks on the subject that the rules set. */
__noinline int judge_marks(struct facts *f, struct rules_room *room)
{
	struct subject *subject;
	__u64 inherited;

	if (!f || !room)
		return 0;
	subject = bpf_task_storage_get(&subjects, bpf_get_current_task_btf()->group_leader, 0, 0);
	if (!subject)
		return 0;
	inherited = marks_put(&subject->marks, room, room->out.subject_marks);
	__sync_fetch_and_or(&subject->inherited, inherited);
	return 1;
}

#endif
