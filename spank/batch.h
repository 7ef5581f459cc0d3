/* batch.h: a job script that stays on the host must have started a step in the container. */
#pragma once

#include <stddef.h>

enum { MARK_NAME_BYTES = 108 };

/* An abstract datagram socket under a name the kernel chooses. The descriptor, or -1. */
int mark_listen(char name[MARK_NAME_BYTES]);

/* A step says that it runs in the container; nobody listening is no error. */
void mark_leave(const char *name);

/* Forks: the child returns 0 and becomes the script, with the signals it had. The parent waits,
 * passes signals on and ends as the script did, or with 125 and the line when the script
 * succeeded and no step left its mark. -1 with errno when the fork failed. */
int batch_split(int listener, const char *line);
