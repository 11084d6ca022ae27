/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * rules.h - the image of a set of rules: what the host compiles and both sides evaluate
 *
 * Written by crates/decision/src/rules (which has these numbers too; a test there reads this file and
 * compares them), read by rules.bpf.h and by the host's own evaluator. Little-endian.
 *
 * An image is one run of bytes in pages of RULES_PAGE. Page 0 is struct rules_header. What ends in _at
 * is an offset in bytes from the image's beginning, aligned to the size of what stands there; 0 says
 * that there is nothing. A vector is `words` u64 (a power of two, so that none lies across two pages),
 * a bit for each clause: clause c is bit c % 64 of word c / 64. A single element of an array never lies
 * across two pages either; an array does.
 *
 * A clause is a conjunction of literals; a rule is one clause or more. Clauses stand in the order
 * enforced denies, allows, denies that are only watched, marks, filters, and among these in the order of
 * their rules. A literal stands in a group: a table of numbers or a table of atoms. The evaluation:
 *
 *   v = the vector of the event (none: nothing to do)
 *   for each table of numbers and of atoms in the event's masks: v &= what the table gives, see there
 *   for each bit of v, in order: the clause holds (below end_deny: denied; ...)
 *
 * Any table may be evaluated that the event's masks do not name: it takes no clause from v that the
 * event's vector has. So what a subject's tables give can be kept for all events.
 */
#ifndef OUTRIGGER_RULES_H
#define OUTRIGGER_RULES_H

#define RULES_MAGIC 0x53454c555254554f /* OUTRULES */
#define RULES_VERSION 1
#define RULES_PAGE 4096
#define RULES_PAGES 4096   /* most pages of an image */
#define RULES_CLAUSES 2048 /* most clauses */
#define RULES_WORDS 32	   /* most words of a vector */
#define RULES_EVENTS 64	   /* places for events, by their index in Event::ALL */
#define RULES_MARKS 64	   /* names of marks */
#define RULES_TIMED 8	   /* bits of marks with a lifetime: the lowest */
#define RULES_BOUNDS 4096  /* most bounds of a table of numbers, so 12 or 13 steps find an interval */
#define RULES_ATOMS 4096   /* most atoms of a table */
#define RULES_LITERALS 16384 /* most literals of a table of atoms, and most in its list `rest` */
#define RULES_STATES 65535 /* most states of an automaton */
#define RULES_PROBES 8	   /* slots to look at, at most, for a program of a lineage */

/*
 * Tables of numbers: 0 to 9 are the places of numbers (enum place), 10 to 15 the lengths of the texts at
 * places 16 to 21, 16 is the address.
 */
#define RULES_LENGTHS 10
#define RULES_ADDRESS 16
#define RULES_NUMBERS 17

/* Tables of atoms: 0 to 5 are the texts at places 16 to 21, then these. */
#define RULES_TEXTS 6
#define RULES_LINEAGE 6
#define RULES_TARGET_LINEAGE 7
#define RULES_SUBJECT_MARKS 8
#define RULES_OBJECT_MARKS 9
#define RULES_TABLES 10

/* What depends on the subject alone, and on an object that is a file; the rest are the arguments. */
#define RULES_SUBJECT_NUMBERS 0x00c03 /* uid, gid, lengths of exe and cgroup */
#define RULES_SUBJECT_TABLES 0x143    /* exe, cgroup, lineage, marks */
#define RULES_OBJECT_NUMBERS 0x01030  /* owner, path_known, length of the path */
#define RULES_OBJECT_TABLES 0x204     /* path, marks */

/* rules_clause.flags, of a mark */
#define RULES_ON_OBJECT 1
#define RULES_INHERITED 2

/* One event. */
struct rules_event {
	__u32 vector_at; /* its clauses; 0: no rule is about it */
	__u32 numbers;	 /* bit per table of numbers that its clauses need */
	__u32 tables;	 /* bit per table of atoms that they need */
	__u32 acting_at; /* those of its clauses that are no allows; 0: there are none */
};

/*
 * Numbers, cut into intervals by ascending bounds. Interval i = how many bounds are not above the value
 * (0 to len); v &= vectors[i]. Bounds are u64; those of addresses are 16 bytes, two u64: the first 8
 * bytes of the address read as big-endian, then the last 8; compared in this order.
 *
 * Where the value is not there (its bit in facts.has is not set; for a length, that of its text):
 * v &= missing.
 */
struct rules_numbers {
	__u32 len; /* bounds */
	__u32 bounds_at;
	__u32 vectors_at; /* len + 1 vectors */
	__u32 missing_at; /* a vector */
};

/*
 * Atoms: things that are so or not (a pattern is found in a text, a program is in the lineage, a mark is
 * set). A table begins with pos = base and neg = nothing. Then
 *
 *   for each atom that is so, for each literal in literals[starts[atom] .. starts[atom + 1]]:
 *       set the clause's bit in neg if the literal has RULES_NEGATED, else in pos
 *   for each entry of rest whose atom is not so: clear the clause's bit in pos
 *   (rest has the second and further literals of clauses with several that are not negated)
 *   if not everything is known (a text is missing, a lineage is cut):
 *       pos |= doubt (of the header); v &= missing
 *   v &= pos & ~neg
 *
 * Of a missing text no atom is so. Of a cut lineage those are that are found.
 */
#define RULES_NEGATED 0x80000000U
struct rules_table {
	__u32 atoms;
	__u32 literals;
	__u32 rest;
	__u32 base_at;	   /* a vector */
	__u32 missing_at;  /* a vector */
	__u32 starts_at;   /* u32, atoms + 1 of them */
	__u32 literals_at; /* u32: clause | RULES_NEGATED */
	__u32 rest_at;	   /* u32: clause | atom << 16 */
};

/*
 * The automaton of a text. Symbols are classes: that of each byte in header.classes, then `classes - 2`
 * before the first byte and `classes - 1` behind the last. From state 0, for each symbol:
 *
 *   state = next[state * classes + class]                   (u16)
 *   if (state >= first_out)
 *       for (a = outs[state - first_out]; a != RULES_NO_ATOM && a is not yet so; a = links[a])
 *           a is so                                          (u16)
 *
 * An atom's links lead to atoms that are so whenever it is, so each is walked once: the symbols and the
 * atoms together bound the work. `states` is 0 where the table has no atoms.
 */
#define RULES_NO_ATOM 0xffff
struct rules_automaton {
	__u32 states;
	__u32 classes;
	__u32 first_out;
	__u32 next_at;
	__u32 outs_at;	/* states - first_out of them */
	__u32 links_at; /* one per atom */
};

/*
 * A slot of the programs of lineages. A program's atom is looked for from slot hash & (slots - 1) on, in
 * RULES_PROBES slots at most (the last is followed by the first), until one is empty or has the hash.
 * The hash is SipHash-2-4 of the path's bytes; the same atoms are used by both lineages' tables.
 */
struct rules_program {
	__u64 hash;
	__u32 atom;
	__u32 used; /* 0: empty */
};

/* One clause. */
struct rules_clause {
	__u16 rule;
	__u8 argument; /* the mark's bit, or the engine's number */
	__u8 flags;
};

struct rules_header {
	__u64 magic;
	__u64 generation; /* no two images in a process's life have the same */
	__u32 version;
	__u32 size; /* of the image, bytes: a multiple of RULES_PAGE */
	__u32 rules;
	__u32 clauses;
	__u32 words;
	__u32 end_deny;	 /* clauses below: enforced denies */
	__u32 end_allow; /* below: allows */
	__u32 end_watch; /* below: denies that are only watched */
	__u32 end_mark;	 /* below: marks; the rest up to `clauses`: filters */
	__u32 clauses_at;
	__u32 doubt_at; /* vector of the clauses for which what is not known is so, negated or not */
	__u32 programs_at;
	__u32 programs; /* slots: a power of two, or 0 */
	__u32 numbers;	/* bit per table of numbers that any event needs */
	__u32 tables;	/* bit per table of atoms */
	__u32 unused;
	__u64 inherited;	    /* marks that children get from their parent */
	__u32 seconds[RULES_TIMED]; /* lifetime of the lowest marks; 0: as long as what is marked */
	/*
	 * The generation in which each bit got its present name. Marks that were put into storage under an
	 * older generation do not count where since[bit] is above that: another mark had the bit.
	 */
	__u64 since[RULES_MARKS];
	struct rules_event events[RULES_EVENTS];
	struct rules_numbers number_tables[RULES_NUMBERS];
	struct rules_table atom_tables[RULES_TABLES];
	struct rules_automaton automata[RULES_TEXTS];
	__u8 classes[RULES_TEXTS][256];
	__u8 padding[168];
};

_Static_assert(sizeof(struct rules_header) == RULES_PAGE, "one page, without holes");
_Static_assert(sizeof(struct rules_program) == 16, "it divides a page");
_Static_assert(sizeof(struct rules_clause) == 4, "it divides a page");

#endif
