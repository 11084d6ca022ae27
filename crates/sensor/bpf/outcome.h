/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * outcome.h - what the rules made of an event, and the marks that they set
 */
#ifndef OUTRIGGER_OUTCOME_H
#define OUTRIGGER_OUTCOME_H

/* outcome.flags */
enum ruled {
	RULED_DENY = 1,	      /* denied, by the rule `deny` */
	RULED_ALLOW = 2,      /* a rule allows it: `allow` */
	RULED_WOULD_DENY = 4, /* a rule that is only watched would deny it: `would_deny` */
	RULED_BROKEN = 8,     /* the image is not what the host checked: nothing was decided */
	RULED_CHANGED = 16,   /* the set was replaced meanwhile: nothing was decided */
};

/* What the rules made of an event. Zeros: nothing. */
struct outcome {
	__u64 generation;    /* of the set that was evaluated; 0: there was none */
	__u64 tell;	     /* bit per engine that is to be told */
	__u64 subject_marks; /* bits to be set on the subject */
	__u64 object_marks;  /* bits to be set on the object */
	__u32 flags;	     /* enum ruled */
	__u16 deny;	     /* rules by their number in the set, where the flag says so */
	__u16 allow;
	__u16 would_deny;
	__u16 unused[3];
};

_Static_assert(sizeof(struct outcome) == 48, "no holes");

/*
 * The marks that a process or a file has: a bit for each. A bit counts where the generation under which
 * it was put there is not below `since` of the set in force, and, if it is one of the lowest MARKS_TIMED,
 * until its time. Bits are only ever added, each after its generation and time, so that no lock is needed.
 */
#define MARKS_TIMED 8
struct mark_set {
	__u64 bits;
	__u64 until[MARKS_TIMED]; /* ns of CLOCK_MONOTONIC, 0: without end */
	__u64 put[64];		  /* the generation under which each bit was put */
};

#endif
