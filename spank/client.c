/* client.c owns the decision about the image and its export; nodes only follow it. It uses the
 * environment, as all of Slurm's clients do, and no Slurm call. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "batch.h"
#include "cleanup.h"
#include "message.h"
#include "request.h"

enum { RESOLVE_TIMEOUT_MS = 5000, EXIT_UNREACHABLE = 69 };

/* SLURM_CONTAINER as an outer job left it. State, since SPANK passes none between callbacks. */
static char *inherited_container;

void client_begin(void)
{
	/* Slurm replays an outer job's SPANK options from these variables. What was decided from them
	 * travels in SLURM_HPCBOX_*; without the replay each call of an option is the user's. */
	static const char replay[] = "SLURM_SPANK__SLURM_SPANK_OPTION_hpcbox_";
	const char *container = getenv("SLURM_CONTAINER");

	free(inherited_container);
	inherited_container = container && *container ? strdup(container) : NULL;
	/* Slurm sets it for --container only when it isn't set: so it means this command line. */
	(void) unsetenv("SLURM_CONTAINER");
	for (char **variable = environ; *variable;) {
		AUTO_FREE char *name = strndup(*variable, strcspn(*variable, "="));

		if (!name || strncmp(name, replay, sizeof(replay) - 1) != 0 || unsetenv(name) < 0)
			variable++; /* unsetenv has moved the next one here */
	}
}

static void read_text(int file, char *text, size_t size)
{
	ssize_t length = pread(file, text, size - 1, 0);

	text[length > 0 ? length : 0] = '\0';
}

/* An image on this machine: the line `reference TEXT` comes at once, with the path as other
 * machines need it, whether or not the digest comes in time. Returns what follows it. */
static char *take_reference(char *text, char **reference)
{
	static const char word[] = "reference ";
	char *line, *end = strchr(text, '\n');

	if (!end || strncmp(text, word, sizeof(word) - 1) != 0)
		return text;
	*end = '\0';
	line = strdup(text + sizeof(word) - 1);
	if (line) {
		free(*reference);
		*reference = line;
	}
	return end + 1;
}

/* Runs `hpcbox resolve` with the user's environment and credentials. 0 with the digest, 0 without
 * one when the registry can't be reached from here (the nodes will try), else 125. */
static int resolve(const struct program *program, char **reference, char **digest)
{
	const char *const arguments[] = { program->python, "-I", "-m", "hpcbox", "resolve", "--wire", *reference, NULL };
	AUTO_CLOSE int out = memfd_create("hpcbox-out", MFD_CLOEXEC);
	AUTO_CLOSE int err = memfd_create("hpcbox-err", MFD_CLOEXEC);
	const struct helper helper = { .arguments = arguments, .environment = environ,
		.fds = { -1, out, err }, .fd_count = 3 };
	char text[8192], *said = text;
	pid_t pid = out < 0 || err < 0 ? -1 : helper_start(&helper);
	int status = pid < 0 ? -1 : helper_wait(pid, RESOLVE_TIMEOUT_MS);

	read_text(out, text, sizeof(text));
	said = take_reference(text, reference);
	/* Late, or hpcbox isn't installed on this node: where it must work is the job's nodes. */
	if (status < 0 || (WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_UNREACHABLE
	    || WEXITSTATUS(status) == EXIT_NOT_FOUND)))
		return 0;
	if (status != 0)
		read_text(err, said = text, sizeof(text));
	said[strcspn(said, "\n")] = '\0';
	if (status == 0 && is_digest(said)) {
		*digest = strdup(said);
		return 0;
	}
	if (strncmp(said, "hpcbox: ", 8) == 0) {
		say_line(said);
	} else {
		describe_status(status, text, sizeof(text));
		say(NULL, "%s: hpcbox resolve failed: %s — try: hpcbox resolve '%s'", *reference, text, *reference);
	}
	return EXIT_NOT_STARTED;
}

static void export_or_unset(const char *name, const char *value)
{
	if (value)
		(void) setenv(name, value, 1);
	else
		(void) unsetenv(name);
}

static void export_option(const struct options *options, enum option_id id, const char *name)
{
	struct option_value found;

	option_value(options, id, &found);
	export_or_unset(name, found.value);
}

/* All nodes of a step must tell this run of it from an earlier one with the same ids. */
static void export_run(void)
{
	struct timespec now = { 0 };
	char text[64];

	(void) clock_gettime(CLOCK_REALTIME, &now);
	(void) snprintf(text, sizeof(text), "%lld.%09ld", (long long) now.tv_sec, now.tv_nsec);
	(void) setenv("SLURM_HPCBOX_RUN", text, 1);
}

/* SLURM_* variables reach every step, also with --export=NONE. */
static void export_decision(const struct options *options, const struct image_choice *choice)
{
	AUTO_FREE char *decision = NULL;

	if (choice->reference && asprintf(&decision, "%s %s", choice->reference,
					  choice->digest ? choice->digest : "-") < 0)
		decision = NULL;
	export_or_unset("SLURM_HPCBOX_IMAGE", decision);
	export_or_unset("SLURM_HPCBOX_SCRIPT", !decision ? NULL : choice->script_inside ? "inside" : "host");
	export_option(options, OPTION_MOUNTS, "SLURM_HPCBOX_MOUNTS");
	export_option(options, OPTION_WORKDIR, "SLURM_HPCBOX_WORKDIR");
	export_option(options, OPTION_ENV, "SLURM_HPCBOX_ENV");
	export_option(options, OPTION_OUTPUT, "SLURM_HPCBOX_OUTPUT");
	export_run();
	/* A left-over name of another image would only contradict the decision. */
	if (inherited_container && choice->reference && strcmp(inherited_container, choice->reference) == 0)
		(void) setenv("SLURM_CONTAINER", inherited_container, 0);
}

static int check(const struct options *options, const struct image_sources *sources)
{
	struct image_choice choice;
	const char *problem = NULL;
	int code = 0;

	if (!choose_image(sources, &choice)) {
		say(NULL, "--container=%s and --container-image=%s name different images — give one of them",
		    sources->container_flag, sources->image_flag);
		return EXIT_NOT_STARTED;
	}
	if (choice.reference && (problem = value_problem(choice.reference)))
		say(NULL, "%s: %s", sources->container_flag ? "--container" : "the image's name", problem);
	if (problem || !options_usable(options, image_wanted(&choice)))
		code = EXIT_NOT_STARTED;
	image_choice_clear(&choice);
	return code;
}

int client_decide(const struct options *options, const struct program *program)
{
	struct option_value image;
	struct image_sources sources = {
		.container_flag = getenv("SLURM_CONTAINER"),
		.decided = getenv("SLURM_HPCBOX_IMAGE"),
		.decided_script = getenv("SLURM_HPCBOX_SCRIPT"),
		.inherited_container = inherited_container,
	};
	struct image_choice choice;
	int code;

	option_value(options, OPTION_IMAGE, &image);
	*(image.given ? &sources.image_flag : &sources.environment) = image.value;
	code = check(options, &sources);
	if (code || !choose_image(&sources, &choice))
		return code;
	if (image_wanted(&choice) && !choice.digest && program)
		code = resolve(program, &choice.reference, &choice.digest);
	if (!code)
		export_decision(options, &choice);
	image_choice_clear(&choice);
	return code;
}

/* With --multi-prog srun has put the text of the file argv[0] into argv[1]. */
static bool is_multi_prog(int count, char **arguments)
{
	AUTO_CLOSE int file = count > 1 ? open(arguments[0], O_RDONLY | O_CLOEXEC) : -1;
	char text[64 * 1024];
	ssize_t length = file < 0 ? -1 : read(file, text, sizeof(text));

	return length > 0 && (size_t) length == strlen(arguments[1])
		&& memcmp(text, arguments[1], (size_t) length) == 0;
}

void client_launch(int count, char **arguments)
{
	const char *decision = getenv("SLURM_HPCBOX_IMAGE"), *batch = getenv("SLURM_HPCBOX_BATCH");
	char *marked;

	if (!decision || strncmp(decision, "none ", 5) == 0)
		return;
	if (batch)
		mark_leave(batch);
	/* Unmarked stay --multi-prog steps, since the node can't unmark the names in their file, and
	 * all but the first component of a heterogeneous step, for which Slurm doesn't call us. srun keeps argv until it exits and never frees its elements after
	 * this callback (pre_launch_srun_job), so ours may come from malloc. */
	if (count > 0 && !is_multi_prog(count, arguments)
	    && asprintf(&marked, "%s%s", COMMAND_MARK, arguments[0]) >= 0)
		arguments[0] = marked;
}
