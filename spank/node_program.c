/* node_program.c owns the node program's command line and its trust check (contract: hpcbox/node.py
 * reads the same arguments). What it answers is node_step.c's. */
#define _GNU_SOURCE
#include "node_program.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "channel.h"
#include "cleanup.h"
#include "message.h"

/* Root executes nothing that somebody else could have written. */
static bool trusted(const struct program *program, char failure[FAILURE_BYTES])
{
	char module[PATH_MAX], text[PATH_MAX] = "";
	const char *const paths[] = { program->python, module, program->settings };
	const char *reason = NULL;

	(void) snprintf(module, sizeof(module), "%s/hpcbox/node.py", program->prefix);
	for (size_t i = 0; i < 3 && !reason; i++)
		reason = path_distrust(paths[i], 0, 0, text);
	if (!reason && access(program->python, X_OK) < 0)
		reason = strerror(errno);
	if (reason)
		(void) snprintf(failure, FAILURE_BYTES, "cannot start the node program: %s: %s — tell the administrator",
				text, reason);
	return !reason;
}

static char *join_groups(spank_t spank)
{
	gid_t *groups = NULL;
	int count = 0;
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	(void) spank_get_item(spank, S_JOB_SUPPLEMENTARY_GIDS, &groups, &count);
	for (int i = 0; i < count; i++)
		fprintf(out, "%s%u", i ? "," : "", groups[i]);
	(void) fclose(out);
	return text;
}

/* Where the job's user keeps credentials and which proxy the user goes through: whoever fetches the
 * image has an empty environment otherwise. hpcbox/container/pulling.py knows the same names. */
static char *registry_variables(spank_t spank)
{
	static const char *const names[] = { "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "HTTPS_PROXY",
		"https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy" };
	char value[PATH_MAX], *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (spank_getenv(spank, names[i], value, sizeof(value)) == ESPANK_SUCCESS && *value && !strchr(value, '\n'))
			fprintf(out, "%s=%s\n", names[i], value);
	(void) fclose(out);
	return text;
}

/* A memory file with the request, or -1. */
static int write_request(spank_t spank, struct request *request)
{
	char cwd[PATH_MAX], submit_dir[PATH_MAX], **arguments = NULL;
	int count = 0;
	AUTO_FREE char *json = NULL, *registries = registry_variables(spank);

	/* Slurm has changed to the job's working directory before task_init_privileged. */
	request->cwd = getcwd(cwd, sizeof(cwd)) ? cwd : "/";
	if (spank_getenv(spank, "SLURM_SUBMIT_DIR", submit_dir, sizeof(submit_dir)) == ESPANK_SUCCESS)
		request->submit_dir = submit_dir;
	if (request->batch && spank_get_item(spank, S_JOB_ARGV, &count, &arguments) == ESPANK_SUCCESS && count > 0)
		request->script = arguments[0];
	request->registries = registries;
	json = request_json(request);
	request->registries = NULL;
	return json ? memory_file("hpcbox-request", json, strlen(json)) : -1;
}

/* What the spool needs to know; strings that live as long as the task. */
struct place {
	char tasks[16], mask[16];
};

static void find_place(spank_t spank, struct place *place)
{
	uint32_t tasks = 1;
	mode_t mask = umask(0);

	(void) umask(mask);
	(void) spank_get_item(spank, S_JOB_LOCAL_TASK_COUNT, &tasks);
	(void) snprintf(place->tasks, sizeof(place->tasks), "%u", tasks);
	(void) snprintf(place->mask, sizeof(place->mask), "%u", mask);
}

static pid_t execute(spank_t spank, const struct program *program, const char *kind, const int ends[3])
{
	static char code[] = "import sys; sys.path[:0] = [sys.argv[1]]; from hpcbox.node import main; main(sys.argv[2:])";
	static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", language[] = "LANG=C.UTF-8";
	static char *const environment[] = { path, language, NULL };
	AUTO_FREE char *groups = join_groups(spank);
	struct place place = { 0 };
	char numbers[5][16];
	uint32_t values[5] = { 0 }; /* uid_t and gid_t are 32 bits wide too */

	if (!groups || spank_get_item(spank, S_JOB_UID, &values[0]) || spank_get_item(spank, S_JOB_GID, &values[1])
	    || spank_get_item(spank, S_JOB_ID, &values[2]) || spank_get_item(spank, S_JOB_STEPID, &values[3]))
		return -1;
	values[4] = (uint32_t) getppid();
	for (size_t i = 0; i < 5; i++)
		(void) snprintf(numbers[i], sizeof(numbers[i]), "%u", values[i]);
	find_place(spank, &place);
	const char *const arguments[] = { program->python, "-I", "-S", "-c", code, program->prefix,
		"--uid", numbers[0], "--gid", numbers[1], "--job", numbers[2], "--step", numbers[3],
		"--owner", numbers[4], "--settings", program->settings, "--groups", groups, "--node", node_name(),
		"--tasks", place.tasks, "--umask", place.mask, "--output", kind, NULL };
	return helper_start(&(struct helper) { .arguments = arguments, .environment = environment, .root = true,
		.fds = { -1, -1, STDERR_FILENO, ends[0], ends[1], ends[2] }, .fd_count = 6 });
}

pid_t node_program_start(spank_t spank, const struct program *program, struct request *request, int output,
			 int *channel, char failure[FAILURE_BYTES])
{
	int ends[2] = { -1, -1 };
	pid_t pid;

	if (!trusted(program, failure))
		return -1;
	AUTO_CLOSE int file = write_request(spank, request);
	if (file < 0 || channel_pair(ends) < 0) {
		(void) snprintf(failure, FAILURE_BYTES, "cannot hand over the request: %s", strerror(errno));
		return -1;
	}
	AUTO_CLOSE int theirs = ends[1];
	*channel = ends[0];
	pid = execute(spank, program, output < 0 ? "pass" : request->output ? request->output : "",
		      (const int[]) { file, theirs, output });
	if (pid < 0)
		(void) snprintf(failure, FAILURE_BYTES, "cannot start the node program: %s", strerror(errno));
	return pid;
}
