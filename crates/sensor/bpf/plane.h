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

/* Where a file is, before somebody walks to its path: addresses, as numbers. */
struct spot {
	__u64 mnt;    /* struct vfsmount through which it was found; 0: unknown */
	__u64 dentry; /* 0: nothing to walk from */
};

/* facts.state */
enum facts_state {
	FACTS_SUBJECT = 1, /* exe, cgroup and lineage are there, as far as they can be had */
	FACTS_WALKED = 2,  /* the paths are there, as far as they can be had */
	FACTS_STABLE = 4,  /* nothing was renamed or mounted while they were walked */
	FACTS_DONE = 8,	   /* it has happened: it cannot be refused any more */
	FACTS_KEPT = 16,   /* what rules make of the file can be kept at its inode */
	FACTS_QUIET = 32,  /* that rules make nothing of the endpoint can be kept at the process */
};

/* A walk from a file up to the root of the mounts. */
struct walk {
	__u64 dentry;  /* where it is */
	__u64 mount;   /* in which mount */
	__u64 root;    /* the root of that mount */
	__u64 listed;  /* the mount that is looked at for where to begin */
	__u64 chosen;  /* the one that was found so far */
	__u64 part;    /* another, which shows a part of the file system only */
	__u32 at;      /* where the path begins in its room */
	__u32 base;    /* where its room begins behind facts.path */
	__u32 end;     /* enum walk_end */
	__u32 unused;
	__u64 renames; /* sequence of the kernel's rename_lock before the walk */
	__u64 mounts;  /* sequence of its mount_lock */
};

/*
 * The facts of one event, as rules see them; and behind them what the programs keep beside them. A hook
 * says where a file is (object, new_object); its path is walked to when somebody needs it.
 */
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
	__u8 index;  /* its place in Event::ALL */
	__u8 state;  /* enum facts_state */
	__u32 cpu;
	char exe[FACTS_SHORT];
	char cgroup[FACTS_SHORT];
	char target_exe[FACTS_SHORT];
	char text[FACTS_SHORT];
	char path[FACTS_PATH];
	char new_path[FACTS_PATH];
	char slack[FACTS_PATH]; /* so that the verifier sees room behind every place in a path */
	struct spot object;
	struct spot new_object;
	__u64 inode;  /* struct inode of the object, as a number; 0: none */
	__u64 target; /* struct task_struct of the first thread of the process that is the object */
	struct walk walk;
	__u64 given; /* an address for a function that the verifier looks at alone */
	__u64 mixed[4]; /* of SipHash */
};

_Static_assert(sizeof(struct facts) % 8 == 0, "no holes at the end");

#endif
