/* helper.h: starting hpcbox's Python, once from a client and once, as root, from a task. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What plugstack.conf says: absolute paths. */
struct program {
	const char *python, *prefix, *settings;
};

/* Reads `python=… prefix=… settings=…`; NULL or the argument that is missing or wrong. */
const char *program_parse(struct program *program, int count, char *const arguments[]);

enum { HELPER_FDS_MAX = 8 };

struct helper {
	const char *const *arguments; /* [0] is the absolute path */
	char *const *environment;
	int fds[HELPER_FDS_MAX];      /* become 0, 1, 2…; -1 is /dev/null. All others are closed. */
	int fd_count;
	bool root;                    /* root's ids alone, umask 022, / as working directory */
};

/* Starts it so that it dies with the calling thread. -1 with errno. An exec that fails ends the
 * process with 127. */
pid_t helper_start(const struct helper *helper);

/* Waits at most that long, then kills it. The wait status, or -1 with errno (ETIMEDOUT: it had to
 * be killed). */
int helper_wait(pid_t pid, int timeout_ms);

/* Words for a wait status: `exit status 1`, `killed by signal 9`. */
void describe_status(int status, char *text, size_t size);

/* An anonymous file with that content, at position 0, sealed. -1 with errno. */
int memory_file(const char *name, const char *content, size_t size);

/* Every component of an absolute path after its first `trusted` bytes belongs to owner and can be
 * written by nobody else; symbolic links are followed one by one. NULL, or the reason, with the
 * component in text. */
const char *path_distrust(const char *path, size_t trusted, uid_t owner, char text[PATH_MAX]);
