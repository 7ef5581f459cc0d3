/* Submits jobs that are held, each by itself: held_jobs COUNT. sbatch takes 20 times as long. */

#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char *environment[] = {"PATH=/usr/bin:/bin", NULL};
	char *words[] = {"job", NULL};
	char name[32];
	int count = argc > 1 ? atoi(argv[1]) : 1;

	slurm_init(NULL);
	for (int number = 0; number < count; number++) {
		job_desc_msg_t job;
		submit_response_msg_t *answer = NULL;

		slurm_init_job_desc_msg(&job);
		snprintf(name, sizeof name, "held-%05d", number);
		job.name = name;
		job.script = "#!/bin/sh\ntrue\n";
		job.environment = environment;
		job.env_size = 1;
		job.argv = words;
		job.argc = 1;
		job.user_id = getuid();
		job.group_id = getgid();
		job.work_dir = "/tmp";
		job.min_nodes = 1;
		job.num_tasks = 1;
		job.priority = 0;
		job.time_limit = 60;
		if (slurm_submit_batch_job(&job, &answer) != SLURM_SUCCESS) {
			fprintf(stderr, "job %d: %s\n", number, slurm_strerror(slurm_get_errno()));
			return 1;
		}
		slurm_free_submit_response_response_msg(answer);
	}
	slurm_fini();
	return 0;
}
