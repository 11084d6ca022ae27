// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * channel.c - TEST ONLY: an interpreter of tables of patterns, with the fault of Channel File 291
 *
 * The format is that of docs/reference/content.md, as far as the fault needs it. Everything that is
 * read is bounded, but for the one place that is marked.
 */
#include "channel.h"

static const char *const names[CHANNEL_NAMED] = {
	"event",  "path",   "folder", "name",	"uid",	  "gid",    "size",
	"changed", "extension", "depth", "part_1", "part_2", "part_3", "part_4",
	"part_5", "part_6", "part_7", "part_8", "path_bytes", "is_root", "ipc_name",
};

static const char nothing[] = "";

/* Takes the text up to `end` off `*rest`, and ends it with a zero byte; NULL if there is none left. */
static char *take(char **rest, char end)
{
	char *from = *rest, *at;

	if (!from)
		return NULL;
	at = strchr(from, end);
	if (at)
		*at++ = '\0';
	*rest = at;
	return from;
}

static const char *read_columns(char *rest, unsigned int *places, unsigned int *columns)
{
	char *name;
	unsigned int at;

	take(&rest, '\t');
	while ((name = take(&rest, '\t'))) {
		for (at = 0; at < CHANNEL_NAMED && strcmp(names[at], name); at++)
			;
		if (at == CHANNEL_NAMED)
			return "no input has the name of a column";
		if (*columns == CHANNEL_NAMED)
			return "more columns than there are inputs";
		places[(*columns)++] = at;
	}
	return *columns ? NULL : "no column";
}

static const char *read_instance(char *rest, const unsigned int *places, unsigned int columns,
				 struct channel_instance *instance)
{
	char *cell;
	unsigned int column = 0;

	instance->name = take(&rest, '\t');
	instance->cells = 0;
	while ((cell = take(&rest, '\t'))) {
		if (column == columns)
			return "more cells than columns";
		if (strcmp(cell, "*")) {
			instance->cell[instance->cells].at = places[column];
			instance->cell[instance->cells++].want = cell + (*cell == '\\');
		}
		column++;
	}
	return column == columns ? NULL : "fewer cells than columns";
}

const char *channel_read(struct channel_table *table, const char *text, size_t len,
			 unsigned int *line)
{
	unsigned int places[CHANNEL_NAMED], columns = 0;
	const char *wrong = NULL;
	char *rest = table->text, *row;

	table->instances = 0;
	*line = 0;
	if (len > CHANNEL_TEXT)
		return "the table is too long";
	if (memchr(text, '\0', len))
		return "the table holds a zero byte";
	memcpy(table->text, text, len);
	table->text[len] = '\0';
	while (!wrong && (row = take(&rest, '\n'))) {
		++*line;
		if (!*row || *row == '#')
			continue;
		if (!columns)
			wrong = read_columns(row, places, &columns);
		else if (table->instances == CHANNEL_INSTANCES)
			wrong = "too many instances";
		else
			wrong = read_instance(row, places, columns,
					      &table->instance[table->instances++]);
	}
	return wrong;
}

static const char *digits(char *into, unsigned long long number)
{
	snprintf(into, CHANNEL_DIGITS, "%llu", number);
	return into;
}

void channel_event(struct channel_event *event, unsigned long number,
		   const struct channel_facts *facts)
{
	size_t len = strnlen(facts->path, CHANNEL_PATH - 1);
	char *slash, *rest = event->parts;
	unsigned int part, depth = 0;
	const char *name, *dot;

	memcpy(event->path, facts->path, len);
	event->path[len] = '\0';
	memcpy(event->folder, event->path, len + 1);
	memcpy(event->parts, event->path, len + 1);
	name = event->path;
	slash = strrchr(event->folder, '/');
	if (slash) {
		name = event->path + (slash - event->folder) + 1;
		slash[slash == event->folder] = '\0';
	} else {
		event->folder[0] = '\0';
	}
	dot = strrchr(name, '.');

	event->input[0] = facts->event;
	event->input[1] = event->path;
	event->input[2] = event->folder;
	event->input[3] = name;
	event->input[4] = digits(event->digits[0], facts->uid);
	event->input[5] = digits(event->digits[1], facts->gid);
	event->input[6] = digits(event->digits[2], facts->size);
	event->input[7] = digits(event->digits[3], facts->changed);
	event->input[8] = dot ? dot + 1 : nothing;
	for (part = 0; part < CHANNEL_PARTS; part++)
		event->input[10 + part] = nothing;
	/* What lies before the first slash is no part. */
	for (take(&rest, '/'); rest; depth++) {
		name = take(&rest, '/');
		if (depth < CHANNEL_PARTS)
			event->input[10 + depth] = name;
	}
	event->input[9] = digits(event->digits[4], depth);
	event->input[18] = digits(event->digits[5], len);
	event->input[19] = facts->uid ? "0" : "1";
	event->number = number;
}

/*
 * THE FAULT. It is given the inputs and not their number, and takes the table's word for how many
 * there are: for a value in `ipc_name` it reads input[20] of twenty, and follows what it finds.
 */
static int matches(const struct channel_instance *instance, const char *const *input)
{
	unsigned int at;

	for (at = 0; at < instance->cells; at++) {
		const struct channel_cell *cell = &instance->cell[at];

		if (strcmp(input[cell->at], cell->want))
			return 0;
	}
	return instance->cells > 0;
}

const char *channel_match(const struct channel_table *table, const struct channel_event *event)
{
	unsigned int at;

	for (at = 0; at < table->instances; at++)
		if (matches(&table->instance[at], event->input))
			return table->instance[at].name;
	return NULL;
}
