/* options.h: the --container-* options, their environment defaults, and what a value may be. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum option_id {
	OPTION_IMAGE, OPTION_MOUNTS, OPTION_WORKDIR, OPTION_ENV, OPTION_OUTPUT, OPTION_NAME, OPTION_SAVE,
	OPTION_UNSHARE, OPTION_ENTRYPOINT_LOG, OPTION_MOUNT_HOME, OPTION_REMAP_ROOT,
	OPTION_ENTRYPOINT, OPTION_WRITABLE, OPTION_COUNT
};

/* What this version does about an option: act on it; refuse it; accept a switch that is off
 * (or on) because this is what happens anyway, and refuse the opposite. */
enum option_effect { ACTS, REFUSED, OFF_ONLY, ON_ONLY };

struct option_row {
	const char *name;      /* --NAME */
	const char *argument;  /* NULL for a switch */
	const char *help;
	const char *negative;  /* the switch's other name, or NULL */
	const char *variable;  /* HPCBOX_CONTAINER_VARIABLE, PYXIS_CONTAINER_VARIABLE */
	enum option_effect effect;
};

extern const struct option_row option_rows[OPTION_COUNT];

/* What the command line gave; a switch is "1" or, by its negative name, "0". */
struct options {
	char *given[OPTION_COUNT];
};

/* An option's value and the name under which the user wrote it; value is NULL when unset. */
struct option_value {
	const char *value;
	char source[64];
	bool given; /* on this command line, not by the environment */
};

/* Keeps a copy; the last one wins. */
void option_give(struct options *options, enum option_id id, const char *value);

/* Command line, then what the job's client exported, then HPCBOX_, then PYXIS_CONTAINER_*. */
void option_value(const struct options *options, enum option_id id, struct option_value *found);

/* Why a value can't be used ("is …: — what to do"), or NULL when it can. */
const char *value_problem(const char *value);

/* 1, 0, or -1 when the text is neither yes nor no. */
int switch_value(const char *text);

/* Says what is wrong with the options and returns false; environment defaults count only when
 * an image was asked for, so that they can stay in a profile. */
bool options_usable(const struct options *options, bool with_image);

/* Bytes of the UTF-8 sequence at text, 0 when it isn't one. */
size_t utf8_length(const char *text);
