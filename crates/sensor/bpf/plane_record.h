/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * plane_record.h - what the programs of lsm/ and src/plane/ say to each other besides the facts
 *
 * In the machine's byte order. A test compares every offset with the Rust side, from the type
 * information in the compiled programs.
 */
#ifndef OUTRIGGER_PLANE_RECORD_H
#define OUTRIGGER_PLANE_RECORD_H

#include "outcome.h"
#include "plane.h"
#include "process.h"

/* plane_record.outcome */
enum plane_outcome {
	PLANE_NOTHING,
	PLANE_ALLOWED,
	PLANE_DENIED,
	PLANE_WOULD_DENY,
};

/* plane_record.flags */
enum plane_flags {
	PLANE_HAS_FILE = 1,   /* device and inode are the object's key */
	PLANE_FILTERED = 2,   /* wanted says who wants it; else nobody was asked */
	PLANE_HAS_TARGET = 4, /* target is a process */
};

/* One record of the ring. path_len, then new_path_len, then text_len bytes follow. */
struct plane_record {
	__u64 time;		   /* ns, CLOCK_MONOTONIC */
	__u64 lost;		   /* of this event on this processor since the start, before this record */
	__u64 has;		   /* struct facts: has */
	__u64 values[2];	   /* at PLACE_VALUE0 and PLACE_VALUE1 */
	__u64 wanted;		   /* engines, a bit each */
	__u64 generation;	   /* of the rules */
	__u64 inode;
	struct process_id process; /* the subject */
	struct process_id parent;  /* who forked it */
	struct process_id target;  /* the process that is the object */
	__u32 device;		   /* major << 20 | minor */
	__u32 uid;		   /* effective */
	__u32 gid;		   /* effective */
	__u32 cpu;		   /* index of the counters of losses */
	__u8 address[16];
	__u16 family;
	__u16 port;
	__u16 path_len;
	__u16 new_path_len;
	__u16 text_len;
	__u16 rule;    /* that outcome is of */
	__u16 event;   /* its number in the catalogue */
	__u8 outcome;  /* enum plane_outcome */
	__u8 flags;    /* enum plane_flags */
};

/* Slots of counters: more processors than this share them, and nothing is counted less for it. */
#define PLANE_SLOTS 256
/* Events that there is room for. */
#define PLANE_EVENTS 64

/* Dropped since the start, by the event's place in Event::ALL. */
struct plane_losses {
	__u64 lost[PLANE_EVENTS];
};

/* Pages that the reader has mapped; see struct process_shared. */
struct plane_shared {
	__u32 wake_at;
	__u32 unused[15];
	struct plane_losses losses[PLANE_SLOTS];
};

/* Who wants an event; by its place in Event::ALL. */
enum plane_want {
	PLANE_TELL = 1, /* somebody is told of it */
	PLANE_RULE = 2, /* rules decide it */
};

/* Words of a vector of clauses: as many bits as a set of rules has clauses at most. */
#define PLANE_WORDS 32

/* What the clauses of an event that act need to know, besides the event's own arguments; 0: there are none. */
enum plane_by {
	PLANE_BY_ARGUMENTS = 1, /* always set where there are some */
	PLANE_BY_SUBJECT = 2,	/* something of the process, */
	PLANE_BY_MARKS = 4,	/* its marks too */
	PLANE_BY_FILE = 8,	/* something of the file, and not its marks */
};

/*
 * What every program looks at first, in a page that the host has mapped: who wants which event, and of
 * the set of rules in force what it takes to see that nothing can come of an event. By the events'
 * places in Event::ALL.
 */
struct plane_front {
	/*
	 * Of the set that `by` and `acting` are of. 0 while the host replaces it: programs then look at the
	 * set itself, and no more at what is below.
	 */
	__u64 generation;
	__u32 words; /* of a vector */
	__u32 unused;
	__u32 want[PLANE_EVENTS];		  /* enum plane_want */
	__u32 by[PLANE_EVENTS];			  /* enum plane_by */
	__u64 acting[PLANE_EVENTS][PLANE_WORDS]; /* the clauses that deny, mark or tell */
};

/* What the loader says once, before the programs are loaded. */
struct plane_settings {
	__u32 pidfs_keys;      /* as in struct process_settings */
	__u32 namespace;       /* as in struct process_settings */
	__u32 mount_namespace; /* of process 1, by its inode number */
	__u32 unused;
	__u64 rename_lock; /* addresses in the kernel; 0: unknown */
	__u64 mount_lock;
	__u64 key[2]; /* of the hashes in lineages */
};

/* subject.flags */
enum subject_flags {
	SUBJECT_EXE = 1, /* exe is its program's path */
};

/* Where an event goes to, or whence it comes; what its arguments are. */
struct endpoint {
	__u64 kind;	  /* endpoint_kind(); 0: none */
	__u64 address[2]; /* as facts.address has it */
};

/* Endpoints that are kept of a process: a power of two. */
#define SUBJECT_ENDPOINTS 4

/* What rules made of a subject, and of what; owned by kept.bpf.h. */
struct subject_cache {
	__u64 generation; /* 0: nothing */
	__u64 marks;
	__u64 cgroup;
	__u32 uid;
	__u32 gid;
	__u32 execs;
	__u32 busy;    /* odd: somebody writes it */
	__u64 nothing; /* a bit per event: no clause that acts is left by the subject alone */
	__u64 vector[PLANE_WORDS];
	struct endpoint quiet[SUBJECT_ENDPOINTS]; /* with these nothing came of an event */
};

/* What is remembered of a process, at the task of its first thread. */
struct subject {
	struct process_id parent; /* who forked it */
	__u64 inherited; /* those of its marks that its children get */
	struct mark_set marks;
	__u32 ready;	 /* 0: new, 1: being filled, 2: filled */
	__u32 execs;	 /* programs that it has run since it is known */
	__u32 flags;	 /* enum subject_flags */
	__u32 exe_len;
	struct lineage_set lineage;
	char exe[FACTS_SHORT];
	struct subject_cache cache;
};

_Static_assert(sizeof(struct plane_record) == 160, "no holes");
_Static_assert(sizeof(struct plane_losses) % 64 == 0, "whole cache lines");

#endif
