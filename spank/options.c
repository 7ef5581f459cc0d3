/* options.c owns the one table of options and the rules for their values. It knows nothing of
 * Slurm and does not decide which image is used: that is request.c. */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "message.h"

enum { VALUE_MAX_BYTES = 32 * 1024 };

/* --name, argument, help, negative name, environment variable, effect */
const struct option_row option_rows[OPTION_COUNT] = {
	[OPTION_IMAGE] = { "container-image", "IMAGE", "run inside this image, sbatch's script too; none: on the host",
		NULL, "IMAGE", ACTS },
	[OPTION_MOUNTS] = { "container-mounts", "SRC:DST[:FLAGS],...", "files and folders to mount inside",
		NULL, "MOUNTS", ACTS },
	[OPTION_WORKDIR] = { "container-workdir", "DIR", "working directory inside",
		NULL, "WORKDIR", ACTS },
	[OPTION_ENV] = { "container-env", "NAME,...", "variables that win over the image's",
		NULL, "ENV", ACTS },
	[OPTION_OUTPUT] = { "container-output", "spool|pass", "keep what each rank prints in files (spool) or don't",
		NULL, "OUTPUT", ACTS },
	[OPTION_NAME] = { "container-name", "NAME", "keep the container under this name",
		NULL, "NAME", REFUSED },
	[OPTION_SAVE] = { "container-save", "FILE", "save the container as a squashfs file",
		NULL, "SAVE", REFUSED },
	[OPTION_UNSHARE] = { "container-unshare", "NAMESPACES", "further namespaces to make",
		NULL, "UNSHARE", REFUSED },
	[OPTION_ENTRYPOINT_LOG] = { "container-entrypoint-log", NULL, "show what the entrypoint prints",
		NULL, "ENTRYPOINT_LOG", OFF_ONLY },
	[OPTION_MOUNT_HOME] = { "container-mount-home", NULL, "mount the home directory (default: no)",
		"no-container-mount-home", "MOUNT_HOME", OFF_ONLY },
	[OPTION_REMAP_ROOT] = { "container-remap-root", NULL, "be root inside (default: no)",
		"no-container-remap-root", "REMAP_ROOT", OFF_ONLY },
	[OPTION_ENTRYPOINT] = { "container-entrypoint", NULL, "run the image's entrypoint (default: no)",
		"no-container-entrypoint", "ENTRYPOINT", OFF_ONLY },
	[OPTION_WRITABLE] = { "container-writable", NULL, "the root can be written (default: yes)",
		"container-readonly", "WRITABLE", ON_ONLY },
};

static const char *const prefixes[] = { "SLURM_HPCBOX_", "HPCBOX_CONTAINER_", "PYXIS_CONTAINER_" };

void option_give(struct options *options, enum option_id id, const char *value)
{
	free(options->given[id]);
	options->given[id] = strdup(value);
}

void option_value(const struct options *options, enum option_id id, struct option_value *found)
{
	const struct option_row *row = &option_rows[id];
	const char *given = options->given[id];
	bool negated = given && row->negative && switch_value(given) == 0;

	*found = (struct option_value) { .value = given, .given = given != NULL };
	(void) snprintf(found->source, sizeof(found->source), "--%s", negated ? row->negative : row->name);
	/* What the job's client decided about the image has a form of its own: request.c. */
	for (size_t i = id == OPTION_IMAGE; !found->value && i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		(void) snprintf(found->source, sizeof(found->source), "%s%s", prefixes[i], row->variable);
		found->value = getenv(found->source);
		if (found->value && !*found->value)
			found->value = NULL;
	}
}

size_t utf8_length(const char *text)
{
	const unsigned char *byte = (const unsigned char *) text;
	static const unsigned int smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = byte[0] < 0x80 ? 1 : byte[0] >= 0xf8 ? 0 : byte[0] >= 0xf0 ? 4
		: byte[0] >= 0xe0 ? 3 : byte[0] >= 0xc0 ? 2 : 0;
	unsigned int code = length > 1 ? byte[0] & (0x7fU >> length) : byte[0];

	for (size_t i = 1; i < length; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (byte[i] & 0x3fU);
	}
	/* Overlong forms, surrogates and what lies above Unicode hide one text behind another. */
	if (length > 1 && (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)))
		return 0;
	return length;
}

const char *value_problem(const char *value)
{
	size_t size = strnlen(value, VALUE_MAX_BYTES + 1);

	if (size == 0)
		return "is empty — give a value or leave the option out";
	if (size > VALUE_MAX_BYTES)
		return "is longer than 32 KiB — shorten it";
	for (size_t i = 0, length; i < size; i += length) {
		const unsigned char *byte = (const unsigned char *) value + i;

		length = utf8_length(value + i);
		if (length == 0)
			return "is not valid UTF-8 — check its spelling";
		if (byte[0] < 0x20 || byte[0] == 0x7f || (byte[0] == 0xc2 && byte[1] < 0xa0))
			return "contains a newline or another control character — write it on one line";
	}
	return NULL;
}

int switch_value(const char *text)
{
	static const char *const words[][4] = { { "0", "no", "false", "off" }, { "1", "yes", "true", "on" } };

	for (int answer = 0; answer < 2; answer++)
		for (size_t i = 0; i < 4; i++)
			if (strcasecmp(text, words[answer][i]) == 0)
				return answer;
	return -1;
}

static bool option_usable(const struct option_row *row, const struct option_value *found)
{
	const char *problem = row->argument ? value_problem(found->value) : NULL;
	int on = row->argument ? 1 : switch_value(found->value);

	if (row == &option_rows[OPTION_OUTPUT] && strcmp(found->value, "spool") != 0 && strcmp(found->value, "pass") != 0)
		problem = "is neither spool nor pass — use one of them";
	if (on < 0)
		problem = "is neither yes nor no — use 1 or 0";
	if (problem) {
		say(NULL, "%s: %s", found->source, problem);
		return false;
	}
	if (row->effect == ACTS || (row->effect == OFF_ONLY && !on) || (row->effect == ON_ONLY && on))
		return true;
	say(NULL, "%s is not supported by this version of hpcbox — leave it out", found->source);
	return false;
}

bool options_usable(const struct options *options, bool with_image)
{
	for (enum option_id id = 0; id < OPTION_COUNT; id++) {
		struct option_value found;

		option_value(options, id, &found);
		if (found.value && (found.given || with_image) && !option_usable(&option_rows[id], &found))
			return false;
	}
	return true;
}
