// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * engine.c - TEST ONLY: the interpreter of channel.c as the docked engine holds it, where hook.c has it
 * in the kernel
 */
#include <stdlib.h>

#include "channel.h"

struct channel_engine {
	struct channel_table table;
	struct channel_event event;
	unsigned long events;
};

/* NULL without memory. */
struct channel_engine *channel_engine_new(void)
{
	return calloc(1, sizeof(struct channel_engine));
}

void channel_engine_free(struct channel_engine *engine)
{
	free(engine);
}

const char *channel_engine_read(struct channel_engine *engine, const char *text, size_t len,
				unsigned int *line)
{
	return channel_read(&engine->table, text, len, line);
}

const char *channel_engine_judge(struct channel_engine *engine, const struct channel_facts *facts)
{
	channel_event(&engine->event, ++engine->events, facts);
	return channel_match(&engine->table, &engine->event);
}
