/* hpcbox_spank.c owns the names Slurm calls and tells clients from nodes; nothing else. The option
 * `container` is Slurm's own and is never registered here: client.c reads SLURM_CONTAINER. */
#include <stdlib.h>

#include <slurm/spank.h>

#include "client.h"
#include "node_step.h"
#include "options.h"

SPANK_PLUGIN(hpcbox, 1)

/* What option callbacks brought; they have no other way to pass it on. */
static struct options options;

#define CALLBACK(name) \
	int name(spank_t spank __attribute__((unused)), int count __attribute__((unused)), \
		 char *arguments[] __attribute__((unused)))

static int in_client(void)
{
	return spank_context() == S_CTX_LOCAL || spank_context() == S_CTX_ALLOCATOR;
}

/* number: twice the option's id, odd for its negative name. Never fails: Slurm would print the
 * value; init_post_opt says what is wrong with it. */
static int option_called(int number, const char *argument, int remote __attribute__((unused)))
{
	enum option_id id = (enum option_id) (number / 2);

	option_give(&options, id, !option_rows[id].argument ? (number % 2 ? "0" : "1") : argument ? argument : "");
	return 0;
}

/* An option another plugin has is reported by Slurm itself; --container keeps working. */
static void register_option(spank_t spank, const char *name, int number)
{
	const struct option_row *row = &option_rows[number / 2];

	if (name)
		(void) spank_option_register(spank, &(struct spank_option) {
			.name = (char *) (size_t) name, .arginfo = (char *) (size_t) row->argument,
			.usage = (char *) (size_t) row->help, .has_arg = row->argument != NULL,
			.val = number, .cb = option_called });
}

CALLBACK(slurm_spank_init)
{
	if (in_client())
		client_begin();
	else if (spank_context() != S_CTX_REMOTE)
		return 0;
	for (int id = 0; id < OPTION_COUNT; id++) {
		register_option(spank, option_rows[id].name, 2 * id);
		register_option(spank, option_rows[id].negative, 2 * id + 1);
	}
	return 0;
}

CALLBACK(slurm_spank_init_post_opt)
{
	struct program program;
	int code = 0;

	if (in_client())
		code = client_decide(&options, program_parse(&program, count, arguments) ? NULL : &program);
	else if (spank_context() == S_CTX_REMOTE)
		step_prepare(spank, &options);
	/* Nothing has been allocated yet; Slurm's own way out would add lines and end with 1. */
	if (code)
		exit(code);
	return 0;
}

CALLBACK(slurm_spank_local_user_init)
{
	int argc = 0;
	char **argv = NULL;

	if (spank_get_item(spank, S_JOB_ARGV, &argc, &argv) == ESPANK_SUCCESS)
		client_launch(argc, argv);
	return 0;
}

CALLBACK(slurm_spank_task_init_privileged)
{
	step_task_privileged(spank, count, arguments);
	return 0;
}

CALLBACK(slurm_spank_task_post_fork)
{
	step_task_forked(spank);
	return 0;
}

CALLBACK(slurm_spank_task_init)
{
	step_task(spank);
	return 0;
}

CALLBACK(slurm_spank_task_exit)
{
	step_task_exited(spank);
	return 0;
}

CALLBACK(slurm_spank_exit)
{
	step_end();
	return 0;
}
