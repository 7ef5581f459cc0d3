/* client.h: what happens in srun, sbatch and salloc, as the user. */
#pragma once

#include <stdbool.h>

#include "helper.h"
#include "options.h"

/* Before Slurm parses options: puts aside what an outer job left in the environment. */
void client_begin(void);

/* After it: checks, chooses the image, resolves it and exports the decision to the job. program
 * is NULL when plugstack.conf names none. 0, or the exit code after having said why. */
int client_decide(const struct options *options, const struct program *program);

/* srun, before it launches: marks the command and leaves the batch mark of a step that runs in a
 * container. */
void client_launch(int count, char **arguments);
