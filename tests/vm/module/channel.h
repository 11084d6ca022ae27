/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * channel.h - TEST ONLY: an interpreter of tables of patterns, with the fault of Channel File 291
 *
 * One source for both sides of the comparison: channel.c is compiled into a kernel module and into a
 * docked engine. It allocates nothing and calls nothing but string functions that both have.
 *
 * The fault: tables may name 21 inputs, the code supplies 20, and nothing compares the two numbers.
 */
#ifndef CHANNEL_H
#define CHANNEL_H

#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/string.h>
#else
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#endif

/* How many inputs an event has, and how many names a table may use. */
#define CHANNEL_SUPPLIED 20
#define CHANNEL_NAMED 21
/* Limits of a table, and of the path of an event with its final zero byte. */
#define CHANNEL_INSTANCES 64
#define CHANNEL_TEXT 16384
#define CHANNEL_PATH 4096
#define CHANNEL_PARTS 8
/* An unsigned number of 64 bits in decimal digits, with its final zero byte. */
#define CHANNEL_DIGITS 21

/* One value that an input is compared with. */
struct channel_cell {
	unsigned int at;
	const char *want;
};

/* A pattern; what is a wildcard in it is no cell. */
struct channel_instance {
	const char *name;
	unsigned int cells;
	struct channel_cell cell[CHANNEL_NAMED];
};

/* A table, which points into its own text: it must not be moved or copied. */
struct channel_table {
	unsigned int instances;
	struct channel_instance instance[CHANNEL_INSTANCES];
	char text[CHANNEL_TEXT + 1];
};

/* What is known of an event. */
struct channel_facts {
	const char *event;
	const char *path;
	unsigned long long uid, gid, size, changed;
};

/* An event as the interpreter sees it, with the texts that its inputs point to. */
struct channel_event {
	const char *input[CHANNEL_SUPPLIED];
	/* What lies behind the inputs, and is read as the 21st: no address of anything. */
	unsigned long number;
	char path[CHANNEL_PATH], folder[CHANNEL_PATH], parts[CHANNEL_PATH];
	char digits[6][CHANNEL_DIGITS];
};

/*
 * Reads `len` bytes of a table. NULL if it is one; else what is wrong, and in `line` where.
 */
const char *channel_read(struct channel_table *table, const char *text, size_t len,
			 unsigned int *line);

/* Fills in an event. */
void channel_event(struct channel_event *event, unsigned long number,
		   const struct channel_facts *facts);

/* The name of the first instance that matches, which means deny; NULL if none does. */
const char *channel_match(const struct channel_table *table, const struct channel_event *event);

#endif
