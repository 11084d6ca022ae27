/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * process.h - what process.bpf.c and src/bpf/record.rs say to each other
 *
 * Written by the program, read by the host, in the machine's byte order. A test compares every offset
 * with the Rust side, from the type information in the compiled program.
 */
#ifndef OUTRIGGER_PROCESS_H
#define OUTRIGGER_PROCESS_H

/* What happened: an index into the counters of losses. */
enum process_kind {
	PROCESS_FORK,
	PROCESS_EXEC,
	PROCESS_EXIT,
	PROCESS_KINDS,
};

/* process_record.flags */
enum process_flags {
	PROCESS_HAS_FILE = 1, /* device and inode are the file's key */
	PROCESS_HAS_PATH = 2, /* the path is complete */
	PROCESS_UNLINKED = 4, /* the file has no name any more */
};

/* A process's key: what stands for it alone, then its number in the sensor's pid namespace or 0. */
struct process_id {
	__u64 unique; /* 0: unknown */
	__u32 pid;
	__u32 zero;
};

/* One record of the ring. path_len bytes follow: names with a zero behind each, the file's first. */
struct process_record {
	__u64 time;		     /* ns, CLOCK_MONOTONIC */
	__u64 lost[PROCESS_KINDS];   /* dropped on this processor since the start, before this record */
	struct process_id process;   /* whom it is about */
	struct process_id parent;    /* who forked it */
	__u32 uid;		     /* effective */
	__u32 gid;		     /* effective */
	__u64 inode;		     /* of the program */
	__u32 device;		     /* of the program: major << 20 | minor */
	__s32 status;		     /* of an exit, as wait(2) has it */
	__u32 cpu;		     /* index of the counters of losses */
	__u16 path_len;
	__u8 kind;		     /* enum process_kind */
	__u8 flags;		     /* enum process_flags */
};

/* Slots of counters: more processors than this share them, and nothing is counted less for it. */
#define PROCESS_SLOTS 1024

/* Dropped since the start; a slot per processor, a cache line each. */
struct process_losses {
	__u64 lost[PROCESS_KINDS];
	__u64 unused[8 - PROCESS_KINDS];
};

/* One page and more that the reader has mapped. */
struct process_shared {
	/*
	 * Written by the reader: unread bytes in the ring from which on it wants to be woken, 1 where
	 * it sleeps. Taken back to RING_NEVER by the program that wakes it.
	 */
	__u32 wake_at;
	__u32 unused[15];
	struct process_losses losses[PROCESS_SLOTS];
};

/* What the host says once, before the programs are loaded. */
struct process_settings {
	__u32 pidfs_keys; /* 1: a process's key is its pidfds' inode number; 0: its start time */
	__u32 namespace;  /* the host's pid namespace by its inode number; 0: the initial one */
};

_Static_assert(sizeof(struct process_id) == 16, "it is the key of the contract");
_Static_assert(sizeof(struct process_record) == 96, "no holes");
_Static_assert(sizeof(struct process_losses) == 64, "a cache line");

#endif
