/* node_program.h: the root program that builds the container, started once per step and node. */
#pragma once

#include <slurm/spank.h>

#include "helper.h"
#include "request.h"

enum { FAILURE_BYTES = 2 * PATH_MAX };

/* Starts it for the request (cwd and script are filled in here) and gives the channel to it; output
 * is the spool's end of its channel, or -1. Its pid, or -1 with the reason in failure. Called as
 * root in the node's first task. */
pid_t node_program_start(spank_t spank, const struct program *program, struct request *request, int output,
			 int *channel, char failure[FAILURE_BYTES]);
