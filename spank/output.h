/* output.h: what a task prints goes through the step's spool (contract: hpcbox/ranks/step_spool.py). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "channel.h"

/* What the spool is told of a task; both lists end with NULL or after count. */
struct output_task {
	uint32_t rank;
	int count;
	char **arguments, **environment;
	int program; /* its file, open for reading, or -1 */
};

enum output_result {
	OUTPUT_KEPT,    /* stdout and stderr are pipes to the spool now */
	OUTPUT_PASSED,  /* they are what they were: a terminal, or no spool; the answer may say why */
	OUTPUT_REFUSED, /* the task must not run; the answer says why */
};

/* Puts the spool behind this process's stdout and stderr and waits for its word. */
enum output_result output_divert(int channel, const struct output_task *task, struct message *answer);

/* Tells the spool how a task ended (a wait status), and waits until all that it wrote is kept and
 * passed on. False when the spool has died, as it must not; without one there is nothing to wait for. */
bool output_settle(int channel, uint32_t rank, int status);
