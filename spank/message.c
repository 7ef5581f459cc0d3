/* message.c owns how a line reaches stderr. It does not decide who speaks: see node_step.c. */
#include "message.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The longest line: C3's 4096 bytes of text and our own prefix. */
enum { LINE_MAX_BYTES = 8192 };

void say_line(const char *text)
{
	char line[LINE_MAX_BYTES];
	int length = snprintf(line, sizeof(line) - 1, "%s", text);
	size_t end = length < 0 ? 0 : (size_t) length;

	if (end > sizeof(line) - 2)
		end = sizeof(line) - 2;
	/* What a registry answered must not drive the user's terminal. */
	for (size_t i = 0; i < end; i++)
		if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[end] = '\n';
	/* A stderr nobody reads is no reason to stop. */
	(void) !write(STDERR_FILENO, line, end + 1);
}

void say(const char *node, const char *format, ...)
{
	char text[LINE_MAX_BYTES];
	int used = snprintf(text, sizeof(text), "hpcbox: %s%s", node ? node : "", node ? ": " : "");
	va_list arguments;

	if (used < 0 || (size_t) used >= sizeof(text))
		return;
	va_start(arguments, format);
	(void) vsnprintf(text + used, sizeof(text) - (size_t) used, format, arguments);
	va_end(arguments);
	say_line(text);
}

const char *node_name(void)
{
	static char host[256];
	/* slurmstepd's own: the variable of the job is the batch node's on all nodes of its steps. */
	const char *name = getenv("SLURMD_NODENAME");

	if (!name)
		(void) gethostname(host, sizeof(host) - 1);
	return name ? name : host;
}
