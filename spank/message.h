/* message.h: the only way text reaches the user: one line on stderr, one write(2). */
#pragma once

enum { EXIT_NOT_STARTED = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* Writes `hpcbox: [NODE: ]TEXT`; node may be NULL (in a client). */
void say(const char *node, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* This node's name in Slurm, for slurmstepd and its tasks; valid while the process is. */
const char *node_name(void);

/* Writes a line somebody else has worded; control characters become '?'. */
void say_line(const char *text);
