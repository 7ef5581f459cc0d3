/* request.c owns the decision table for the image and the wire form of a request. It reads no
 * environment and knows nothing of Slurm: its callers bring every input. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "options.h"

bool is_digest(const char *text)
{
	static const char prefix[] = "sha256:";

	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return false;
	text += sizeof(prefix) - 1;
	return strspn(text, "0123456789abcdef") == 64 && text[64] == '\0';
}

/* "REFERENCE DIGEST": the reference may hold spaces (a file's path), a digest can't. */
static char *decided_reference(const char *decided, const char **digest)
{
	const char *space = decided ? strrchr(decided, ' ') : NULL;

	*digest = space ? space + 1 : "-";
	return space ? strndup(decided, (size_t) (space - decided)) : NULL;
}

bool choose_image(const struct image_sources *sources, struct image_choice *choice)
{
	const char *decided_digest, *chosen, *at;
	AUTO_FREE char *decided = decided_reference(sources->decided, &decided_digest);

	*choice = (struct image_choice) { 0 };
	if (sources->container_flag && sources->image_flag
	    && strcmp(sources->container_flag, sources->image_flag) != 0)
		return false;
	choice->script_inside = true;
	if (sources->image_flag) {
		chosen = sources->image_flag;
	} else if (sources->container_flag) {
		chosen = sources->container_flag;
		choice->script_inside = false;
	} else if (decided) {
		chosen = decided;
		choice->script_inside = sources->decided_script
			&& strcmp(sources->decided_script, "inside") == 0;
	} else if (sources->inherited_container) {
		chosen = sources->inherited_container;
		choice->script_inside = false;
	} else {
		chosen = sources->environment;
	}
	if (!chosen)
		return true;
	choice->reference = strdup(chosen);
	at = strrchr(chosen, '@');
	if (at && is_digest(at + 1))
		choice->digest = strdup(at + 1);
	else if (decided && strcmp(chosen, decided) == 0 && is_digest(decided_digest))
		choice->digest = strdup(decided_digest);
	return true;
}

void image_choice_clear(struct image_choice *choice)
{
	free(choice->reference);
	free(choice->digest);
	*choice = (struct image_choice) { 0 };
}

bool image_wanted(const struct image_choice *choice)
{
	return choice->reference && strcmp(choice->reference, "none") != 0;
}

/* Bytes that are no UTF-8 (a working directory may hold any) travel as lone surrogates, the form
 * in which Python's os.fsencode gives the same bytes back. */
static void json_string(FILE *out, const char *text)
{
	putc('"', out);
	while (*text) {
		size_t length = utf8_length(text);
		unsigned int byte = (unsigned char) *text;

		if (length == 0)
			fprintf(out, "\\udc%02x", byte);
		else if (byte < 0x20 || byte == 0x7f)
			fprintf(out, "\\u%04x", byte);
		else if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", *text);
		else
			fwrite(text, 1, length, out);
		text += length ? length : 1;
	}
	putc('"', out);
}

static void json_field(FILE *out, const char *name, const char *text)
{
	fprintf(out, ",\"%s\":", name);
	if (text)
		json_string(out, text);
	else
		fputs("null", out);
}

char *request_json(const struct request *request)
{
	char *json = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&json, &size);

	if (!out)
		return NULL;
	fputs("{\"version\":1", out);
	json_field(out, "image", request->image);
	json_field(out, "digest", request->digest);
	json_field(out, "mounts", request->mounts);
	json_field(out, "workdir", request->workdir);
	json_field(out, "env", request->environment);
	json_field(out, "cwd", request->cwd);
	json_field(out, "submit_dir", request->submit_dir);
	json_field(out, "script", request->script);
	json_field(out, "run", request->run);
	json_field(out, "registries", request->registries);
	putc('}', out);
	if (fclose(out) != 0) {
		free(json);
		return NULL;
	}
	return json;
}
