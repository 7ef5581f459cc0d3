/* request.h: which image a step runs in, and what the node program is asked for. */
#pragma once

#include <stdbool.h>

/* srun puts this before the command's name and task_init takes it off: a node without the plugin
 * can't start such a command, where it would have run it on the host. */
#define COMMAND_MARK "hpcbox-plugin-is-missing-on-this-node:"

/* Everything that can name an image; each may be NULL. */
struct image_sources {
	const char *container_flag;      /* --container on this command line */
	const char *image_flag;          /* --container-image on this command line */
	const char *decided;             /* "REFERENCE DIGEST" exported by the job's client */
	const char *decided_script;      /* "inside" or "host", exported with it */
	const char *inherited_container; /* SLURM_CONTAINER from a client without hpcbox */
	const char *environment;         /* HPCBOX_CONTAINER_IMAGE, else PYXIS_CONTAINER_IMAGE */
};

struct image_choice {
	char *reference;    /* NULL: no container was asked for; "none": it was declined */
	char *digest;       /* sha256:… or NULL when still to be resolved */
	bool script_inside; /* sbatch's script runs in the container too */
};

/* An explicit flag beats what is inherited, which beats the environment. False: both flags were
 * given and differ. Release the choice with image_choice_clear. */
bool choose_image(const struct image_sources *sources, struct image_choice *choice);
void image_choice_clear(struct image_choice *choice);
bool image_wanted(const struct image_choice *choice);

/* The text is sha256: and 64 hexadecimal digits. */
bool is_digest(const char *text);

struct request {
	const char *image, *digest, *mounts, *workdir, *environment, *cwd, *submit_dir, *run;
	const char *script; /* the batch script's path on this node, to be visible inside; else NULL */
	const char *registries; /* NAME=VALUE lines: variables of the job that say how registries are reached */
	const char *output; /* not on the wire: spool, pass, or NULL for what the site prefers */
	bool batch;         /* not on the wire */
};

/* The JSON text of a request; NULL when memory ran out. Free it. */
char *request_json(const struct request *request);
