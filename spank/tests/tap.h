/* tap.h: Test Anything Protocol for the unit tests, and a look at what a call wrote to stderr. */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int tap_count, tap_failed;

static inline void ok(int passed, const char *sentence)
{
	printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_count, sentence);
	fflush(stdout);
	tap_failed += !passed;
}

static inline void same(const char *got, const char *expected, const char *sentence)
{
	int equal = got && expected ? strcmp(got, expected) == 0 : got == expected;

	ok(equal, sentence);
	if (!equal)
		printf("# got: %s\n# expected: %s\n", got ? got : "NULL", expected ? expected : "NULL");
}

static inline int done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed != 0;
}

static int tap_stderr = -1, tap_capture = -1;

static inline void capture_stderr(void)
{
	tap_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	tap_capture = memfd_create("stderr", MFD_CLOEXEC);
	dup2(tap_capture, STDERR_FILENO);
}

/* What was written since capture_stderr, in a static buffer. */
static inline const char *captured(void)
{
	static char text[65536];
	ssize_t size;

	dup2(tap_stderr, STDERR_FILENO);
	size = pread(tap_capture, text, sizeof(text) - 1, 0);
	text[size > 0 ? size : 0] = '\0';
	close(tap_stderr);
	close(tap_capture);
	return text;
}

static char tap_folder[64];

static inline void remove_folder(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", tap_folder);
	(void) !system(command);
}

/* A fresh empty folder, one per test program: remove it with remove_folder. */
static inline const char *new_folder(void)
{
	snprintf(tap_folder, sizeof(tap_folder), "/tmp/hpcbox-test-XXXXXX");
	return mkdtemp(tap_folder);
}

static inline void write_file(const char *path, const char *content, mode_t mode)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (file < 0 || write(file, content, strlen(content)) != (ssize_t) strlen(content) || fchmod(file, mode) < 0)
		exit(99);
	close(file);
}
