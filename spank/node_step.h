/* node_step.h: what happens in slurmstepd and in its tasks. No function here ever fails towards
 * Slurm: that would drain the node or run the job on the host. Errors end the task in task_init. */
#pragma once

#include <slurm/spank.h>

#include "options.h"

/* init_post_opt, as root: reads the decision, makes two pipes, takes no time. */
void step_prepare(spank_t spank, const struct options *options);

/* task_init_privileged, as root in the forked task: the node's first task waits until slurmstepd
 * has put it into its cgroups, then starts the node program. */
void step_task_privileged(spank_t spank, int count, char **arguments);

/* task_post_fork, in slurmstepd: says so, and lets go of all descriptors. */
void step_task_forked(spank_t spank);

/* task_exit, in slurmstepd: waits until what the task printed is where it belongs. After the last
 * task Slurm kills what is left of the step, the spool too. */
void step_task_exited(spank_t spank);

/* exit, in slurmstepd: nobody waits for a step that was never started. */
void step_end(void);

/* task_init, as the user: enters the container, or ends with one line per node. */
void step_task(spank_t spank);
