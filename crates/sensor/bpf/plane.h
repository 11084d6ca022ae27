/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * plane.h - what the programs of the second plane share: the facts of an event, and its record
 *
 * A hook takes a `struct facts` (facts_begin), says what it knows, and ends it (facts_end), which
 * evaluates the rules and filters, writes a record if somebody wants one, and gives what the hook
 * answers. Values stand at the places that crates/api/src/attribute.rs names.
 */
#ifndef OUTRIGGER_PLANE_H
#define OUTRIGGER_PLANE_H

/* attribute.rs: enum Place */
enum place {
	PLACE_SUBJECT_UID = 0,
	PLACE_SUBJECT_GID = 1,
	PLACE_TARGET_UID = 2,
	PLACE_TARGET_GID = 3,
	PLACE_OWNER = 4,
	PLACE_PATH_KNOWN = 5,
	PLACE_FAMILY = 6,
	PLACE_PORT = 7,
	PLACE_VALUE0 = 8,
	PLACE_VALUE1 = 9,
	PLACES_NUMBERS = 10,
	PLACE_EXE = 16,
	PLACE_CGROUP = 17,
	PLACE_PATH = 18,
	PLACE_TARGET_EXE = 19,
	PLACE_NEW_PATH = 20,
	PLACE_TEXT = 21,
	PLACES_TEXTS = 6,
};

#define FACTS_SHORT 256	 /* longest program, control group or text, bytes */
#define FACTS_PATH 4096	 /* longest path, bytes */
#define FACTS_LINEAGE 32 /* programs of a process and its ancestors that are remembered */

/* The programs that a process and its ancestors have run, each once, by a keyed hash of its path. */
struct lineage_set {
	__u64 programs[FACTS_LINEAGE];
	__u32 len;
	__u32 cut; /* 1: there were more, so whether another one is among them is not known */
};

/* Where a text stands in its own room of struct facts; a path stands at the room's end. */
struct text_at {
	__u16 at;
	__u16 len;
};

/* The facts of one event, as rules see them. */
struct facts {
	__u64 numbers[PLACES_NUMBERS];
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d; zeros where there is none */
	__u64 has;	  /* a bit per place: the value is there (address: bit 32) */
	__u64 marks;	  /* of the subject */
	__u64 object_marks;
	struct text_at texts[PLACES_TEXTS];
	struct lineage_set lineage;
	struct lineage_set target_lineage;
	__u16 event; /* its number in the catalogue */
	__u8 index;  /* its place in Event::ALL, as the loader says */
	__u8 unused[5];
	char exe[FACTS_SHORT];
	char cgroup[FACTS_SHORT];
	char target_exe[FACTS_SHORT];
	char text[FACTS_SHORT];
	char path[FACTS_PATH];
	char new_path[FACTS_PATH];
};

#endif
