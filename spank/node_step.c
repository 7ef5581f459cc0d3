/* node_step.c owns the order of events on a node and the step's descriptors. How a process is
 * started, entered or told something belongs to node_program.c, enter.c and channel.c. */
#define _GNU_SOURCE
#include "node_step.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "batch.h"
#include "channel.h"
#include "cleanup.h"
#include "enter.h"
#include "message.h"
#include "node_program.h"
#include "output.h"

/* slurm.h's values, which spank.h doesn't give. */
#define BATCH_STEP 0xfffffffbU
#define EXTERN_STEP 0xfffffffcU

/* The kernel's limit for one string of an environment. */
enum { VARIABLE_BYTES = 128 * 1024 + 1, REAP_TIMEOUT_MS = 5000, SIBLING_GRACE_MS = 500 };

/* One process serves one step; SPANK hands no state from callback to callback. */
static struct {
	enum { ON_HOST, INSIDE, WRAPPED } kind;
	struct image_choice image;
	struct request request;
	const char *node;
	const char *command;
	bool marked;     /* srun started it for a container */
	int task;        /* number of this task on this node */
	int go[2];       /* slurmstepd → first task: you are in your cgroups */
	int hub[2];      /* first task → its siblings: the container is ready */
	int output[2];   /* slurmstepd and tasks → spool */
	int program_end; /* node program → first task */
	pid_t program;
	char failure[FAILURE_BYTES];
} step = { .go = { -1, -1 }, .hub = { -1, -1 }, .output = { -1, -1 }, .program_end = -1, .program = -1 };

/* Remembers the first failure; step_task says it where the user can see it. */
static void __attribute__((format(printf, 1, 2))) remember_failure(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (!step.failure[0])
		(void) vsnprintf(step.failure, sizeof(step.failure), format, arguments);
	va_end(arguments);
}

/* Ends the task; what happens to all tasks of a node is said by the first alone. */
static void __attribute__((noreturn)) end_task(int code)
{
	if (step.task == 0)
		say(step.node, "%s", step.failure);
	_exit(code);
}

/* The job's variable, NULL when unset or empty. Overwritten by the next call. */
static const char *job_variable(spank_t spank, const char *name)
{
	static char value[VARIABLE_BYTES];

	return spank_getenv(spank, name, value, sizeof(value)) == ESPANK_SUCCESS && *value ? value : NULL;
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* What the client exported; the option itself when the job came from a client without hpcbox. */
static char *step_value(spank_t spank, const char *variable, const struct options *options, enum option_id id)
{
	const char *exported = job_variable(spank, variable), *value = exported ? exported : options->given[id];
	const char *problem = value ? value_problem(value) : NULL;

	if (problem)
		remember_failure("--%s: %s", option_rows[id].name, problem);
	return copy(value);
}

/* The decision of the client, or what a client without hpcbox left. */
static void choose_step_image(spank_t spank, const struct options *options)
{
	AUTO_FREE char *decided = copy(job_variable(spank, "SLURM_HPCBOX_IMAGE"));
	AUTO_FREE char *script = copy(job_variable(spank, "SLURM_HPCBOX_SCRIPT"));
	const struct image_sources sources = {
		.image_flag = decided ? NULL : options->given[OPTION_IMAGE], .decided = decided,
		.decided_script = script, .inherited_container = job_variable(spank, "SLURM_CONTAINER"),
	};
	const char *problem;

	if (!choose_image(&sources, &step.image) || !image_wanted(&step.image))
		return;
	step.kind = step.request.batch && !step.image.script_inside ? WRAPPED : INSIDE;
	problem = value_problem(step.image.reference);
	if (problem)
		remember_failure("the image's name %s", problem);
}

/* A script's output has its file already. */
static bool spools(void)
{
	return !step.request.batch && (!step.request.output || strcmp(step.request.output, "pass") != 0);
}

void step_prepare(spank_t spank, const struct options *options)
{
	uint32_t id = EXTERN_STEP;

	if (spank_get_item(spank, S_JOB_STEPID, &id) != ESPANK_SUCCESS || id == EXTERN_STEP)
		return;
	step.request.batch = id == BATCH_STEP;
	choose_step_image(spank, options);
	if (step.kind != INSIDE)
		return;
	step.request.image = step.image.reference;
	step.request.digest = step.image.digest;
	step.request.mounts = step_value(spank, "SLURM_HPCBOX_MOUNTS", options, OPTION_MOUNTS);
	step.request.workdir = step_value(spank, "SLURM_HPCBOX_WORKDIR", options, OPTION_WORKDIR);
	step.request.environment = step_value(spank, "SLURM_HPCBOX_ENV", options, OPTION_ENV);
	step.request.output = step_value(spank, "SLURM_HPCBOX_OUTPUT", options, OPTION_OUTPUT);
	step.request.run = copy(job_variable(spank, "SLURM_HPCBOX_RUN"));
	/* A client without hpcbox: srun's port is another one next time. */
	if (!step.request.run)
		step.request.run = copy(job_variable(spank, "SLURM_SRUN_COMM_PORT"));
	if (pipe2(step.go, O_CLOEXEC) < 0 || channel_pair(step.hub) < 0 || (spools() && channel_pair(step.output) < 0))
		remember_failure("cannot open a pipe: %s", strerror(errno));
}

/* An mpirun outside the container starts its daemons by srun: they can't run in the image. */
static void refuse_launcher_daemons(const char *command)
{
	static const char *const daemons[] = { "hydra_pmi_proxy", "orted", "prted" };
	const char *slash = strrchr(command, '/'), *name = slash ? slash + 1 : command;

	for (size_t i = 0; i < sizeof(daemons) / sizeof(*daemons); i++)
		if (strcmp(name, daemons[i]) == 0)
			remember_failure("%s belongs to an mpirun outside the container and can't run in image %s"
					 " — start the program with srun --mpi=… instead", name, step.image.reference);
}

/* The command without its mark, for good; *marked tells whether it had one. Slurm's own string is
 * changed in place, in this task alone. In a --multi-prog step it is the file, never marked. */
static const char *take_command(spank_t spank, bool *marked)
{
	char **arguments = NULL;
	int count = 0;

	*marked = false;
	if (spank_get_item(spank, S_JOB_ARGV, &count, &arguments) != ESPANK_SUCCESS || count == 0)
		return "";
	*marked = strncmp(arguments[0], COMMAND_MARK, strlen(COMMAND_MARK)) == 0;
	if (*marked)
		memmove(arguments[0], arguments[0] + strlen(COMMAND_MARK), strlen(arguments[0] + strlen(COMMAND_MARK)) + 1);
	return arguments[0];
}

/* Runs as root in the first task, before anything of the user's could. */
static void begin_program(spank_t spank, int count, char **arguments)
{
	struct program program;
	const char *missing = program_parse(&program, count, arguments);
	char go;

	/* Siblings and slurmstepd close their copies of the other end: an end of file is sure. */
	if (read(step.go[0], &go, 1) != 1)
		remember_failure("slurmstepd gave the step up");
	if (missing)
		remember_failure("plugstack.conf gives hpcbox.so no %s/… — tell the administrator", missing);
	if (!step.failure[0])
		step.program = node_program_start(spank, &program, &step.request, step.output[1], &step.program_end,
						  step.failure);
}

void step_task_privileged(spank_t spank, int count, char **arguments)
{
	step.command = take_command(spank, &step.marked);
	if (spank_get_item(spank, S_TASK_ID, &step.task) != ESPANK_SUCCESS || step.kind != INSIDE)
		return;
	refuse_launcher_daemons(step.command);
	/* setns needs two capabilities after the change of user; capabilities_drop ends this. */
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		remember_failure("cannot keep capabilities: %s", strerror(errno));
	cleanup_close(&step.go[1]);
	cleanup_close(&step.hub[step.task == 0 ? 1 : 0]);
	if (step.task == 0)
		begin_program(spank, count, arguments);
	cleanup_close(&step.go[0]);
	cleanup_close(&step.output[1]);
}

void step_task_forked(spank_t spank)
{
	int task = -1;

	/* All tasks have been forked when the first is reported. */
	if (step.go[1] < 0 || spank_get_item(spank, S_TASK_ID, &task) != ESPANK_SUCCESS || task != 0)
		return;
	/* Before the spool can begin: whoever writes to it must see its end. */
	cleanup_close(&step.output[1]);
	(void) !write(step.go[1], "g", 1);
	for (int i = 0; i < 2; i++) {
		cleanup_close(&step.go[i]);
		cleanup_close(&step.hub[i]);
	}
}

void step_task_exited(spank_t spank)
{
	uint32_t rank = 0;
	int status = 0;

	if (step.output[0] < 0 || spank_get_item(spank, S_TASK_GLOBAL_ID, &rank) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_TASK_EXIT_STATUS, &status) != ESPANK_SUCCESS)
		return;
	if (output_settle(step.output[0], rank, status) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return;
	/* scancel kills spool and tasks alike; here the spool alone was. */
	slurm_error("hpcbox: %s: the process that keeps the output of this step was killed: ranks that print after"
		    " that get SIGPIPE — leave it alone, or use --container-output=pass", node_name());
	cleanup_close(&step.output[0]);
}

void step_end(void)
{
	for (int i = 0; i < 2; i++) {
		cleanup_close(&step.go[i]);
		cleanup_close(&step.hub[i]);
		cleanup_close(&step.output[i]);
	}
}

/* The signal that ends the task; the node program first takes back what it has half made. */
static volatile sig_atomic_t ending_signal;
static const int ending_signals[] = { SIGTERM, SIGINT, SIGHUP };

static void on_ending_signal(int number)
{
	ending_signal = number;
	(void) kill(step.program, SIGTERM);
}

static void handle_ending_signals(void (*handler)(int))
{
	for (size_t i = 0; i < sizeof(ending_signals) / sizeof(*ending_signals); i++)
		(void) sigaction(ending_signals[i], &(struct sigaction) { .sa_handler = handler }, NULL);
}

/* Ends the first task and, by the message, its siblings. */
static void __attribute__((noreturn)) fail_node(int code)
{
	const struct message error = { .kind = 'E', .length = 1, .text = { (char) code }, .fds = { -1, -1 } };

	(void) channel_send(step.hub[0], &error);
	/* The node program releases what it holds of the store; our end kills it anyway. */
	if (step.program > 0)
		(void) helper_wait(step.program, REAP_TIMEOUT_MS);
	if (ending_signal) {
		handle_ending_signals(SIG_DFL);
		(void) raise(ending_signal);
	}
	_exit(code);
}

static void __attribute__((noreturn)) fail_program_died(void)
{
	char status[64];

	if (ending_signal)
		fail_node(EXIT_NOT_STARTED);
	describe_status(helper_wait(step.program, REAP_TIMEOUT_MS), status, sizeof(status));
	step.program = -1;
	say(step.node, "the node program ended before the container was ready (%s) — tell the administrator", status);
	fail_node(EXIT_NOT_STARTED);
}

/* The first task waits here as the user: whatever signal comes acts as on any other task. */
static void lead(struct message *ready)
{
	/* A parent's death is a signal like others: it reaches a root child with CAP_KILL only. */
	if (capabilities_raise(1ULL << CAP_KILL) < 0)
		remember_failure("cannot use CAP_KILL: %s", strerror(errno));
	if (step.failure[0]) {
		say(step.node, "%s", step.failure);
		fail_node(EXIT_NOT_STARTED);
	}
	handle_ending_signals(on_ending_signal);
	do {
		message_clear(ready);
		if (channel_receive(step.program_end, false, ready) != 1)
			fail_program_died();
		if (!ending_signal && (ready->kind == 'P' || (ready->kind == 'E' && ready->length > 0)))
			say_line(ready->text + (ready->kind == 'E'));
		if (ready->kind == 'E')
			fail_node(ready->length > 0 ? (unsigned char) ready->text[0] : EXIT_NOT_STARTED);
	} while (ready->kind != 'R' || ready->fds[0] < 0);
	handle_ending_signals(SIG_DFL);
	if (ending_signal)
		fail_node(EXIT_NOT_STARTED);
	/* Siblings look at the message without taking it: one serves them all. */
	(void) channel_send(step.hub[0], ready);
	cleanup_close(&step.hub[0]);
	cleanup_close(&step.program_end);
	(void) helper_wait(step.program, REAP_TIMEOUT_MS);
}

static void follow(struct message *ready)
{
	if (channel_receive(step.hub[1], true, ready) != 1) {
		/* scancel ends the first task a moment before us: then there is nothing to explain. */
		(void) poll(NULL, 0, SIBLING_GRACE_MS);
		if (step.task == 1)
			say(step.node, "the node's first task ended before the container was ready");
		_exit(EXIT_NOT_STARTED);
	}
	cleanup_close(&step.hub[1]);
	if (ready->kind != 'R')
		_exit(ready->length > 0 ? (unsigned char) ready->text[0] : EXIT_NOT_STARTED);
}

/* Sets what stands between next and end: NAME=VALUE strings, each with its NUL. */
static void set_environment(spank_t spank, char *next, const char *end)
{
	while (next < end) {
		char *following = next + strlen(next) + 1, *equals = strchr(next, '=');

		if (equals && equals != next) {
			*equals = '\0';
			(void) spank_setenv(spank, next, equals + 1, 1);
		}
		next = following;
	}
}

/* The file's strings: working directory, digest, NAME=VALUE… False, with the failure noted. */
static bool apply_environment(spank_t spank, int file)
{
	struct stat status = { 0 };
	AUTO_FREE char *text = fstat(file, &status) == 0 ? calloc(1, (size_t) status.st_size + 3) : NULL;
	char *digest;

	if (!text || pread(file, text, (size_t) status.st_size, 0) != status.st_size) {
		remember_failure("the container's environment can't be read");
		return false;
	}
	if (chdir(text) < 0) {
		remember_failure("cannot use the working directory %s in image %s: %s — choose one with --container-workdir",
				 text, step.image.reference, strerror(errno));
		return false;
	}
	digest = text + strlen(text) + 1;
	(void) spank_setenv(spank, "HPCBOX_IMAGE_DIGEST", digest, 1);
	(void) spank_setenv(spank, "HPCBOX_IMAGE", step.image.reference, 1);
	set_environment(spank, digest + strlen(digest) + 1, text + status.st_size);
	return true;
}

static void check_command(spank_t spank, const char *command)
{
	const char *path = job_variable(spank, "PATH");
	size_t length = strlen(command);
	/* With srun --bcast slurmstepd appends the file's name to the folder later. */
	int problem = length > 0 && command[length - 1] == '/' ? 0 : command_problem(command, path);

	if (problem == EXIT_NOT_FOUND && strchr(command, '/'))
		remember_failure("%s: not found in image %s", command, step.image.reference);
	else if (problem == EXIT_NOT_FOUND)
		remember_failure("%s: not found in image %s (PATH=%s)", command, step.image.reference, path ? path : "");
	else if (problem)
		remember_failure("%s: not executable in image %s", command, step.image.reference);
	if (problem)
		end_task(problem);
}

static void wrap_batch(spank_t spank)
{
	char name[MARK_NAME_BYTES];
	AUTO_CLOSE int listener = mark_listen(name);
	AUTO_FREE char *line = NULL;

	if (listener < 0 || spank_setenv(spank, "SLURM_HPCBOX_BATCH", name, 1) != ESPANK_SUCCESS
	    || asprintf(&line, "hpcbox: %s: the job asked for container %s but no step ran in it: start the program with srun,"
			" or use --container-image=%s to run the script itself inside", step.node, step.image.reference,
			step.image.reference) < 0 || batch_split(listener, line) < 0) {
		remember_failure("cannot watch the job script: %s", strerror(errno));
		end_task(EXIT_NOT_STARTED);
	}
}

/* From here on the task's words go through the spool. */
static void divert_output(spank_t spank)
{
	struct output_task task = { 0 };
	AUTO_MESSAGE struct message answer = MESSAGE_INIT;
	enum output_result result;

	if (spank_get_item(spank, S_TASK_GLOBAL_ID, &task.rank) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_JOB_ARGV, &task.count, &task.arguments) != ESPANK_SUCCESS
	    || spank_get_item(spank, S_JOB_ENV, &task.environment) != ESPANK_SUCCESS)
		return;
	/* In a --multi-prog step the command is the file of commands. */
	AUTO_CLOSE int file = step.marked ? command_open(step.command, job_variable(spank, "PATH")) : -1;
	task.program = file;
	result = output_divert(step.output[0], &task, &answer);
	if (answer.text[0] && step.task == 0)
		say_line(answer.text);
	if (result == OUTPUT_REFUSED)
		_exit(EXIT_NOT_STARTED);
}

static void go_inside(spank_t spank)
{
	AUTO_MESSAGE struct message ready = MESSAGE_INIT;

	if (step.task == 0)
		lead(&ready);
	else
		follow(&ready);
	if (enter_namespace(ready.fds[0]) < 0)
		remember_failure("cannot enter the container: %s", strerror(errno));
	else if (capabilities_drop() < 0)
		remember_failure("cannot give up privileges: %s", strerror(errno));
	else if (apply_environment(spank, ready.fds[1]) && (step.marked || step.request.batch))
		check_command(spank, step.command);
	if (step.failure[0])
		end_task(EXIT_NOT_STARTED);
	if (step.output[0] >= 0)
		divert_output(spank);
}

void step_task(spank_t spank)
{
	step.node = node_name();
	if (step.marked && step.kind != INSIDE) {
		remember_failure("the step was started for a container, but this node was not told which");
		end_task(EXIT_NOT_STARTED);
	}
	/* Slurm leaves the tasks of a slurmstepd that was killed: ours are to end with it. */
	if (step.kind != ON_HOST)
		(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (step.kind == WRAPPED)
		wrap_batch(spank);
	else if (step.kind == INSIDE)
		go_inside(spank);
}
