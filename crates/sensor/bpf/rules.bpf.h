/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * rules.bpf.h - evaluates the rules in force for the facts of an event
 *
 * By the steps that rules.h describes, on the image that the map `rules` leads to. The map has one entry,
 * which is replaced as a whole: a program looks it up once, so what it decides is decided by one set, and
 * the kernel ends the replacing call only when no program works with the old set any more.
 *
 * Everything that grows with the set is a bpf_loop() with its bound from the image, so the verifier sees
 * each step once and a program's size does not depend on the rules. Nothing read from the image is
 * trusted to lie inside of it: the host has checked it, and a place outside of it here only ends the
 * evaluation, as `RULED_BROKEN` of the outcome says.
 *
 * Since: Linux 6.1 (bpf_loop 5.17; arrays inside of maps with a number of entries of their own 5.10)
 */
#ifndef OUTRIGGER_RULES_BPF_H
#define OUTRIGGER_RULES_BPF_H

#include "rules.h"
#include "outcome.h"

#define BPF_F_INNER_MAP (1U << 12)

/* An image: RULES_PAGE bytes an entry, as many as it has pages. */
struct rules_pages {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, RULES_PAGE);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rules_pages);
} rules SEC(".maps");

/* The bit of facts.has that says whether there is an address (attribute.rs: Place::Address). */
#define FACTS_ADDRESS 32

/* What a file's path and owner depend on. */
struct file_state {
	__u64 dentry;
	__u64 mnt;
	__u64 renames;
	__u64 mounts;
	__u64 seconds; /* the inode's time of change */
	__u64 nanoseconds;
	__u64 owner;
};

/* What rules made of a file, and of what. */
struct file_cache {
	__u32 busy; /* odd: somebody writes it */
	__u32 unused;
	__u64 generation; /* 0: nothing */
	__u64 marks;
	struct file_state of;
	__u64 nothing; /* a bit per event: no clause that acts is left by the file alone */
	__u64 vector[RULES_WORDS];
};

/* Room for one evaluation; whoever has facts has one of these beside them. */
struct rules_room {
	struct outcome out;
	struct file_state file;
	__u64 kept[RULES_WORDS]; /* the clauses that are left so far, of all parts */
	__u64 left;		 /* whether any are */
	__u64 v[RULES_WORDS];
	__u64 pos[RULES_WORDS];
	__u64 neg[RULES_WORDS];
	__u64 so[RULES_ATOMS / 64]; /* a bit per atom of the table that is looked at: it is so */
	__u64 some;		    /* a bit per word of `so` that is not zero */
	__u64 value[2];		    /* the number that is looked for, or the address */
	__u32 words;
	__u32 low, high;       /* of a search; of a run of literals */
	__u32 text, at, end;   /* of a scan: where its room begins, the next byte, the end */
	__u32 state, classes;  /* of the automaton */
	__u32 atom, table;     /* of a scan: the next to be said; which table it is */
	__u32 first_out, next_at, outs_at, links_at, starts_at, literals_at, bounds_at;
	__u32 numbers, tables; /* those that are to be looked at, a bit each */
	__u32 clause;
	__u32 cached; /* whether what is kept of subjects and files is used */
	__u32 keeps;  /* what the file comes to could be kept, had it room */
	__u32 execs;
	__u32 subject_was; /* the number of what is kept of the subject, which was used; odd: none was */
};

/* One evaluation: what its steps need. Lies on the stack. */
struct evaluation {
	void *pages;
	struct rules_header *head;
	struct facts *facts;
	struct rules_room *room;
};

/*
 * Looks up the set in force. The parts of an evaluation are functions that the verifier looks at once
 * and alone (what it sees would else multiply), and such functions take no map as an argument: so each
 * looks the set up again, and says so if it is another one than the first has found.
 */
static __always_inline int rules_set(struct evaluation *e, struct facts *facts,
				     struct rules_room *room)
{
	__u32 zero = 0;

	if (!room)
		return 0;
	e->facts = facts;
	e->room = room;
	e->pages = bpf_map_lookup_elem(&rules, &zero);
	if (!e->pages)
		return 0;
	e->head = bpf_map_lookup_elem(e->pages, &zero);
	if (!e->head)
		return 0;
	if (!room->out.generation)
		room->out.generation = e->head->generation;
	if (room->out.generation == e->head->generation)
		return 1;
	room->out.flags |= RULED_CHANGED;
	return 0;
}

static __always_inline void *rules_page(struct evaluation *e, __u32 at)
{
	__u32 page = at / RULES_PAGE;

	return bpf_map_lookup_elem(e->pages, &page);
}

static __always_inline __u64 rules_u64(struct evaluation *e, __u32 at)
{
	__u64 *page = rules_page(e, at);

	return page ? page[at / 8 & (RULES_PAGE / 8 - 1)] : 0;
}

static __always_inline __u32 rules_u32(struct evaluation *e, __u32 at)
{
	__u32 *page = rules_page(e, at);

	return page ? page[at / 4 & (RULES_PAGE / 4 - 1)] : 0;
}

static __always_inline __u16 rules_u16(struct evaluation *e, __u32 at)
{
	__u16 *page = rules_page(e, at);

	return page ? page[at / 2 & (RULES_PAGE / 2 - 1)] : 0;
}

/*
 * A place in an array, cut to its size where the verifier sees it: the compiler would otherwise compare
 * what the place was made from, and leave out the cutting that follows from that.
 */
static __always_inline __u64 within(__u64 at, const __u64 mask)
{
	asm volatile("%[at] &= %[mask]" : [at] "+r"(at) : [mask] "i"(mask));
	return at;
}

/* Whether a number is not zero, without a branch, of which each would double what the verifier looks at. */
static __always_inline __u64 is_some(__u64 of)
{
	__u64 minus = -of;

	asm volatile("" : "+r"(minus));
	return (of | minus) >> 63;
}

/* The number of the lowest bit that is set, of a number that is not zero. */
static __always_inline __u32 lowest(__u64 of)
{
	of &= -of;
	return is_some(of & 0xaaaaaaaaaaaaaaaa) | is_some(of & 0xcccccccccccccccc) << 1 |
	       is_some(of & 0xf0f0f0f0f0f0f0f0) << 2 | is_some(of & 0xff00ff00ff00ff00) << 3 |
	       is_some(of & 0xffff0000ffff0000) << 4 | is_some(of & 0xffffffff00000000) << 5;
}

/* v &= the vector there. A vector that is not to be had leaves nothing. */
__noinline int rules_and(struct rules_room *room, __u32 at)
{
	struct evaluation e;
	__u32 i, from = at / 8, words;
	__u64 *page;

	if (!room || !rules_set(&e, 0, room))
		return 0;
	words = room->words;
	page = rules_page(&e, at);
	if (!page) {
		room->out.flags |= RULED_BROKEN;
		return 0;
	}
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		room->v[i] &= page[within(from + i, RULES_PAGE / 8 - 1)];
	return 0;
}

/* One step of the search for how many bounds are not above the value. Whether it has ended. */
static __noinline int search_step(struct evaluation *e)
{
	struct rules_room *room = e->room;
	__u32 low = room->low, high = room->high, middle;
	__u64 *page, bound;
	__u32 at;

	if (low >= high)
		return 1;
	middle = (low + high) / 2;
	if (room->table == RULES_ADDRESS) {
		at = room->bounds_at + middle * 16;
		page = rules_page(e, at);
		if (!page)
			return 1;
		bound = page[at / 8 & (RULES_PAGE / 8 - 2)];
		if (bound == room->value[0])
			low = page[(at / 8 & (RULES_PAGE / 8 - 2)) + 1] <= room->value[1];
		else
			low = bound < room->value[0];
	} else {
		low = rules_u64(e, room->bounds_at + middle * 8) <= room->value[0];
	}
	if (low)
		room->low = middle + 1;
	else
		room->high = middle;
	return 0;
}

/* The value of a table of numbers, into room->value; whether it is there. */
static __always_inline int find_number(struct evaluation *e, __u32 table)
{
	struct rules_room *room = e->room;
	struct facts *f = e->facts;

	if (table < RULES_LENGTHS) {
		room->value[0] = f->numbers[within(table, 15)];
		return f->has >> table & 1;
	}
	if (table < RULES_ADDRESS) {
		table -= RULES_LENGTHS;
		room->value[0] = f->texts[within(table, 7)].len;
		return f->has >> (table + PLACE_EXE) & 1;
	}
	room->value[0] = __builtin_bswap64(*(__u64 *)&f->address[0]);
	room->value[1] = __builtin_bswap64(*(__u64 *)&f->address[8]);
	return f->has >> FACTS_ADDRESS & 1;
}

/* v &= what the table of numbers gives. */
__noinline int rules_number(struct facts *facts, struct rules_room *room, __u32 table)
{
	struct rules_numbers *numbers;
	__u32 at, step;
	struct evaluation e;

	if (!facts || !room || table >= RULES_NUMBERS || !rules_set(&e, facts, room))
		return 0;
	numbers = &e.head->number_tables[within(table, 31)];
	at = numbers->missing_at;
	if (find_number(&e, table)) {
		room->table = table;
		room->bounds_at = numbers->bounds_at;
		room->low = 0;
		room->high = numbers->len;
#pragma clang loop unroll(disable)
		for (step = 0; step < 16; step++)
			if (search_step(&e))
				break;
		at = numbers->vectors_at + room->low * room->words * 8;
	}
	return rules_and(room, at);
}

/* An atom is so. Whether that was said before. */
static __always_inline int say_so(struct rules_room *room, __u32 atom)
{
	__u32 word = atom / 64 & (RULES_ATOMS / 64 - 1);
	__u64 bit = 1ULL << (atom & 63);

	if (room->so[word] & bit)
		return 1;
	room->so[word] |= bit;
	room->some |= 1ULL << word;
	return 0;
}

/* One step of a scan: an atom of the state that was reached, else the next symbol of the text. */
static int scan_step(__u32 step, struct evaluation *e)
{
	struct rules_room *room = e->room;
	__u32 atom = room->atom, at = room->at, text = room->text, table = room->table, class;

	if (atom != RULES_NO_ATOM) {
		room->atom = say_so(room, atom) ? RULES_NO_ATOM
						: rules_u16(e, room->links_at + atom * 2);
		return 0;
	}
	if (at > room->end)
		return 1;
	if (at == room->end) {
		class = room->classes - 1;
	} else {
		at += text;
		if (at >= sizeof(struct facts) || table >= RULES_TEXTS)
			return 1;
		class = e->head->classes[table][((__u8 *)e->facts)[at]];
	}
	room->at++;
	room->state = rules_u16(e, room->next_at + (room->state * room->classes + class) * 2);
	if (room->state >= room->first_out)
		room->atom = rules_u16(e, room->outs_at + (room->state - room->first_out) * 2);
	return 0;
}

/* Where the room of each text begins in struct facts. */
static __always_inline __u32 text_room(__u32 table)
{
	switch (table) {
	case PLACE_EXE - PLACE_EXE:
		return __builtin_offsetof(struct facts, exe);
	case PLACE_CGROUP - PLACE_EXE:
		return __builtin_offsetof(struct facts, cgroup);
	case PLACE_PATH - PLACE_EXE:
		return __builtin_offsetof(struct facts, path);
	case PLACE_TARGET_EXE - PLACE_EXE:
		return __builtin_offsetof(struct facts, target_exe);
	case PLACE_NEW_PATH - PLACE_EXE:
		return __builtin_offsetof(struct facts, new_path);
	default:
		return __builtin_offsetof(struct facts, text);
	}
}

/* Runs the automaton of a text: which atoms are so. */
__noinline int rules_scan(struct facts *facts, struct rules_room *room, __u32 table)
{
	struct rules_automaton *automaton;
	struct evaluation evaluation, *e = &evaluation;
	struct text_at *text;
	__u32 len;

	if (!facts || !room || table >= RULES_TEXTS || !rules_set(e, facts, room))
		return 0;
	automaton = &e->head->automata[within(table, 7)];
	if (!automaton->states)
		return 0;
	text = &facts->texts[within(table, 7)];
	len = text->len;
	room->table = table;
	room->text = text_room(table) + text->at;
	room->at = 0;
	room->end = len;
	room->classes = automaton->classes;
	room->first_out = automaton->first_out;
	room->next_at = automaton->next_at;
	room->outs_at = automaton->outs_at;
	room->links_at = automaton->links_at;
	room->atom = RULES_NO_ATOM;
	/* The symbol before the first byte. */
	room->state = rules_u16(e, room->next_at + (room->classes - 2) * 2);
	if (room->state >= room->first_out)
		room->atom = rules_u16(e, room->outs_at + (room->state - room->first_out) * 2);
	/* A symbol, the atom of its state, and the atoms that follow from one for the first time. */
	bpf_loop(2 * (len + 2) + RULES_ATOMS, scan_step, e, 0);
	return 0;
}

/* One look at one slot for one program of a lineage. */
static int lineage_step(__u32 step, struct evaluation *e)
{
	struct rules_room *room = e->room;
	struct lineage_set *set;
	__u32 slots = e->head->programs, at;
	__u64 *page, hash;

	if (room->at >= room->end || room->at >= FACTS_LINEAGE)
		return 1;
	set = room->table == RULES_LINEAGE ? &e->facts->lineage : &e->facts->target_lineage;
	hash = set->programs[room->at];
	at = e->head->programs_at +
	     (((__u32)hash + room->low) & (slots - 1)) * sizeof(struct rules_program);
	page = rules_page(e, at);
	if (!page)
		return 1;
	at = at / 8 & (RULES_PAGE / 8 - 2);
	if (page[at | 1] >> 32 && page[at] != hash && room->low + 1 < RULES_PROBES) {
		room->low++;
		return 0;
	}
	/* The programs of both lineages have their atoms in one order, of which this table may have the first alone. */
	if (page[at | 1] >> 32 && page[at] == hash && (__u32)page[at | 1] < room->high)
		say_so(room, (__u32)page[at | 1]);
	room->low = 0;
	room->at++;
	return 0;
}

/* Looks for the programs of a lineage: which atoms are so. */
__noinline int rules_programs(struct facts *facts, struct rules_room *room, __u32 table)
{
	struct evaluation evaluation, *e = &evaluation;

	if (!facts || !room || !rules_set(e, facts, room) || !e->head->programs)
		return 0;
	room->table = table;
	room->high = e->head->atom_tables[within(table, 15)].atoms;
	room->low = 0;
	room->at = 0;
	room->end = table == RULES_LINEAGE ? e->facts->lineage.len : e->facts->target_lineage.len;
	bpf_loop(FACTS_LINEAGE * RULES_PROBES, lineage_step, e, 0);
	return 0;
}

/* One literal of an atom that is so, or the next such atom. */
static int literal_step(__u32 step, struct evaluation *e)
{
	struct rules_room *room = e->room;
	__u32 word, atom, literal;

	if (room->low >= room->high) {
		if (!room->some)
			return 1;
		word = lowest(room->some) & (RULES_ATOMS / 64 - 1);
		if (!room->value[0]) {
			/* The next word of atoms. */
			room->value[0] = room->so[word];
			room->atom = word * 64;
		}
		atom = room->atom + lowest(room->value[0]);
		room->value[0] &= room->value[0] - 1;
		if (!room->value[0])
			room->some &= room->some - 1;
		room->low = rules_u32(e, room->starts_at + atom * 4);
		room->high = rules_u32(e, room->starts_at + atom * 4 + 4);
		return 0;
	}
	literal = rules_u32(e, room->literals_at + room->low * 4);
	room->low++;
	word = literal / 64 & (RULES_WORDS - 1);
	if (literal & RULES_NEGATED)
		room->neg[word] |= 1ULL << (literal & 63);
	else
		room->pos[word] |= 1ULL << (literal & 63);
	return 0;
}

/* One further literal of a clause that has several in this table. */
static int rest_step(__u32 step, struct evaluation *e)
{
	struct rules_room *room = e->room;
	__u32 entry = rules_u32(e, room->bounds_at + step * 4);
	__u32 atom = entry >> 16;

	if (!(room->so[atom / 64 & (RULES_ATOMS / 64 - 1)] >> (atom & 63) & 1))
		room->pos[entry / 64 & (RULES_WORDS - 1)] &= ~(1ULL << (entry & 63));
	return 0;
}

/* Whether all is known that a table's atoms are of. */
static __always_inline int is_known(struct facts *f, __u32 table)
{
	if (table < RULES_TEXTS)
		return f->has >> (table + PLACE_EXE) & 1;
	if (table == RULES_LINEAGE)
		return !f->lineage.cut;
	if (table == RULES_TARGET_LINEAGE)
		return !f->target_lineage.cut;
	return 1;
}

/* pos = the table's base, neg = nothing, and nothing is so. */
static __always_inline int begin_atoms(struct evaluation *e, struct rules_table *atoms)
{
	struct rules_room *room = e->room;
	__u32 i, from = atoms->base_at / 8, words = room->words;
	__u64 *base = rules_page(e, atoms->base_at);

	if (!base)
		return 0;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++) {
		room->pos[i] = base[within(from + i, RULES_PAGE / 8 - 1)];
		room->neg[i] = 0;
	}
	__builtin_memset(room->so, 0, sizeof(room->so));
	room->some = 0;
	return 1;
}

/* What the literals of the atoms that are so say. */
static __always_inline void read_literals(struct evaluation *e, struct rules_table *atoms)
{
	struct rules_room *room = e->room;

	room->starts_at = atoms->starts_at;
	room->literals_at = atoms->literals_at;
	room->low = 0;
	room->high = 0;
	room->value[0] = 0;
	if (room->some)
		bpf_loop(RULES_ATOMS + atoms->literals + 1, literal_step, e, 0);
	room->bounds_at = atoms->rest_at;
	if (atoms->rest)
		bpf_loop(atoms->rest, rest_step, e, 0);
}

/* Not everything is known: for the clauses of the vector `doubt` it is so all the same. */
__noinline int rules_doubt(struct facts *facts, struct rules_room *room, __u32 table)
{
	struct evaluation e;
	__u32 i, from, words;
	__u64 *doubt;

	if (!facts || !room || table >= RULES_TABLES || !rules_set(&e, facts, room))
		return 0;
	words = room->words;
	from = e.head->doubt_at / 8;
	doubt = rules_page(&e, e.head->doubt_at);
	if (!doubt) {
		room->out.flags |= RULED_BROKEN;
		return 0;
	}
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		room->pos[i] |= doubt[within(from + i, RULES_PAGE / 8 - 1)];
	return rules_and(room, e.head->atom_tables[within(table, 15)].missing_at);
}

/* v &= what the table of atoms gives. */
__noinline int rules_atoms(struct facts *facts, struct rules_room *room, __u32 table)
{
	struct rules_table *atoms;
	struct evaluation e;
	__u32 i, words;
	int known;

	if (!facts || !room || table >= RULES_TABLES || !rules_set(&e, facts, room))
		return 0;
	atoms = &e.head->atom_tables[within(table, 15)];
	if (!begin_atoms(&e, atoms)) {
		room->out.flags |= RULED_BROKEN;
		return 0;
	}
	known = is_known(facts, table);
	if (table < RULES_TEXTS) {
		if (known)
			rules_scan(facts, room, table);
	} else if (table < RULES_SUBJECT_MARKS) {
		rules_programs(facts, room, table);
	} else {
		room->so[0] = table == RULES_SUBJECT_MARKS ? facts->marks : facts->object_marks;
		if (atoms->atoms < 64)
			room->so[0] &= (1ULL << (atoms->atoms & 63)) - 1;
		room->some = room->so[0] != 0;
	}
	read_literals(&e, atoms);
	if (!known)
		rules_doubt(facts, room, table);
	words = room->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		room->v[i] &= room->pos[i] & ~room->neg[i];
	return 0;
}

/*
 * v &= what these tables give: numbers first. Loops that are entered at their top: to the verifier of Linux 6.1
 * a way from a call straight into a loop is one back.
 */
static __always_inline void and_tables(struct facts *facts, struct rules_room *room, __u32 numbers,
				       __u32 tables)
{
	__u32 i = 0;

	if (numbers)
#pragma clang loop unroll(disable)
		do {
			rules_number(facts, room, lowest(numbers));
			numbers &= numbers - 1;
		} while (numbers && ++i < RULES_NUMBERS);
	i = 0;
	if (tables)
#pragma clang loop unroll(disable)
		do {
			rules_atoms(facts, room, lowest(tables));
			tables &= tables - 1;
		} while (tables && ++i < RULES_TABLES);
}

/*
 * v = the clauses of the event. Whether there are any; then room->numbers and room->tables are those that
 * they need.
 */
__noinline int rules_begin(struct facts *facts, struct rules_room *room)
{
	struct rules_event *event;
	struct evaluation e;
	__u32 i, from, words;
	__u64 *page;

	if (!facts || !room || facts->index >= RULES_EVENTS)
		return 0;
	__builtin_memset(&room->out, 0, sizeof(room->out));
	if (!rules_set(&e, facts, room))
		return 0;
	event = &e.head->events[within(facts->index, RULES_EVENTS - 1)];
	if (!event->vector_at)
		return 0;
	room->words = words = e.head->words;
	room->numbers = event->numbers;
	room->tables = event->tables;
	page = rules_page(&e, event->vector_at);
	if (!page) {
		room->out.flags |= RULED_BROKEN;
		return 0;
	}
	from = event->vector_at / 8;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		room->v[i] = page[within(from + i, RULES_PAGE / 8 - 1)];
	return 1;
}

/* One clause that holds. */
static __always_inline void take_clause(struct evaluation *e, __u32 clause)
{
	struct rules_header *head = e->head;
	struct outcome *out = &e->room->out;
	/* struct rules_clause, as one number. */
	__u32 entry = rules_u32(e, head->clauses_at + clause * sizeof(struct rules_clause));
	__u16 rule = entry & 0xffff;
	__u8 argument = entry >> 16;
	__u8 flags = entry >> 24;
	__u32 next = clause + 1;

	if (clause < head->end_deny) {
		out->deny = rule;
		out->flags |= RULED_DENY;
		next = head->end_deny;
	} else if (clause < head->end_allow) {
		if (!(out->flags & RULED_DENY)) {
			out->allow = rule;
			out->flags |= RULED_ALLOW;
		}
		next = head->end_allow;
	} else if (clause < head->end_watch) {
		out->would_deny = rule;
		out->flags |= RULED_WOULD_DENY;
		next = head->end_watch;
	} else if (clause < head->end_mark) {
		if (out->flags & RULED_DENY)
			next = head->end_mark;
		else if (flags & RULES_ON_OBJECT)
			out->object_marks |= 1ULL << (argument & 63);
		else
			out->subject_marks |= 1ULL << (argument & 63);
	} else {
		out->tell |= 1ULL << (argument & 63);
	}
	e->room->clause = next;
}

static int clause_step(__u32 step, struct evaluation *e)
{
	struct rules_room *room = e->room;
	__u32 clause = room->clause, word = clause / 64;
	__u64 bits;

	if (word >= room->words || word >= RULES_WORDS)
		return 1;
	bits = room->v[within(word, RULES_WORDS - 1)] >> (clause & 63);
	if (!bits) {
		room->clause = (word + 1) * 64;
		return 0;
	}
	take_clause(e, clause + lowest(bits));
	return 0;
}

/* What the clauses that are left in v make of the event. Whether it was one set all the time. */
__noinline int rules_end(struct facts *facts, struct rules_room *room)
{
	struct evaluation e;
	__u32 i, words;
	__u64 any = 0;

	if (!facts || !room || !rules_set(&e, facts, room))
		return 0;
	words = room->words;
#pragma clang loop unroll(disable)
	for (i = 0; i < RULES_WORDS && i < words; i++)
		any |= room->v[i];
	room->clause = 0;
	if (any)
		bpf_loop(RULES_CLAUSES + RULES_WORDS, clause_step, &e, 0);
	return !(room->out.flags & RULED_CHANGED);
}

/* One try of the whole evaluation. Whether it is to be believed. */
__noinline int rules_try(struct facts *facts, struct rules_room *room)
{
	if (!facts || !room)
		return 0;
	if (!rules_begin(facts, room))
		return !(room->out.flags & RULED_CHANGED);
	and_tables(facts, room, room->numbers, room->tables);
	return rules_end(facts, room);
}

/*
 * The whole evaluation, of facts that are all there; nothing is kept. The outcome is in room->out. Twice
 * if the set was replaced meanwhile: the call that replaces it waits for the programs that run, and there
 * is one caller, so a program sees at most one replacement.
 */
__noinline int rules_decide(struct facts *facts, struct rules_room *room)
{
	if (!facts || !room)
		return 0;
	if (!rules_try(facts, room))
		rules_try(facts, room);
	return 0;
}

#endif
