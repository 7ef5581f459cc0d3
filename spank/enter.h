/* enter.h: a task's way into the container and out of every privilege. */
#pragma once

#include <stdint.h>

/* Makes permitted capabilities effective (CAP_TO_MASK-style bits: 1 << CAP_…). -1 with errno. */
int capabilities_raise(uint64_t wanted);

/* Gives up every capability for good, also across exec. -1 with errno. */
int capabilities_drop(void);

/* Joins the mount namespace, whose root becomes root and working directory. -1 with errno. */
int enter_namespace(int mount_namespace);

/* The command's file, looked up as Slurm will, open for reading; or -1. */
int command_open(const char *command, const char *path);

/* Can the command be executed, looked up as Slurm will? 0, 126 (found, but not executable) or
 * 127. path is the task's PATH or NULL. */
int command_problem(const char *command, const char *path);
