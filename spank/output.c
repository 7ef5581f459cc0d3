/* output.c owns the way of a task's stdout and stderr to the spool, and the wait for what it wrote.
 * It does not decide which tasks go this way: that is node_step.c. */
#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "helper.h"

enum { SPOOL_END_MS = 500 };

/* A memory file with the number of words, the words and the variables, each with its NUL; or -1. */
static int write_facts(const struct output_task *task)
{
	AUTO_FREE char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return -1;
	fprintf(out, "%d%c", task->count, 0);
	for (int i = 0; i < task->count; i++)
		fwrite(task->arguments[i], 1, strlen(task->arguments[i]) + 1, out);
	for (char **variable = task->environment; variable && *variable; variable++)
		fwrite(*variable, 1, strlen(*variable) + 1, out);
	return fclose(out) == 0 ? memory_file("hpcbox-task", text, size) : -1;
}

/* Sends the question with one end of a fresh channel, and waits for the answer at the other. */
static bool ask(int channel, struct message *question, struct message *answer)
{
	int ends[2] = { -1, -1 }, sent;

	if (channel_pair(ends) < 0)
		return false;
	AUTO_CLOSE int ours = ends[0];
	question->fds[0] = ends[1];
	sent = channel_send(channel, question);
	/* From here on the spool alone holds it: when the spool dies we hear an end of file. */
	cleanup_close(&question->fds[0]);
	return sent == 0 && channel_receive(ours, false, answer) == 1;
}

enum output_result output_divert(int channel, const struct output_task *task, struct message *answer)
{
	struct message question = { .kind = 'T' };
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	bool answered;

	answer->text[0] = '\0';
	if (isatty(STDOUT_FILENO) || isatty(STDERR_FILENO) || pipe2(out, O_CLOEXEC) < 0)
		return OUTPUT_PASSED;
	AUTO_CLOSE int out_reader = out[0];
	AUTO_CLOSE int out_writer = out[1];
	AUTO_CLOSE int facts = write_facts(task);
	if (facts < 0 || pipe2(err, O_CLOEXEC) < 0)
		return OUTPUT_PASSED;
	AUTO_CLOSE int err_reader = err[0];
	AUTO_CLOSE int err_writer = err[1];
	question.length = (size_t) snprintf(question.text, sizeof(question.text), "%u %d", task->rank, (int) getpid());
	memcpy(question.fds, (int[CHANNEL_FDS]) { -1, out_reader, err_reader, STDOUT_FILENO, STDERR_FILENO, facts, task->program },
	       sizeof(question.fds));
	answered = ask(channel, &question, answer);
	if (answered && answer->kind == 'E')
		return OUTPUT_REFUSED;
	if (!answered || answer->kind != 'K' || dup2(out_writer, STDOUT_FILENO) < 0 || dup2(err_writer, STDERR_FILENO) < 0)
		return OUTPUT_PASSED;
	return OUTPUT_KEPT;
}

bool output_settle(int channel, uint32_t rank, int status)
{
	AUTO_MESSAGE struct message answer = MESSAGE_INIT;
	struct message question = MESSAGE_INIT;
	char mark;

	question.kind = 'X';
	question.length = (size_t) snprintf(question.text, sizeof(question.text), "%u %d", rank, status);
	/* A spool at work has left a byte here. */
	if (!ask(channel, &question, &answer))
		return recv(channel, &mark, 1, MSG_DONTWAIT | MSG_PEEK) != 1;
	/* With the last task's answer comes the spool's pidfd, since it ends now: Slurm sleeps for a
	 * second when it finds a process of the step that is still about to die. */
	if (answer.fds[0] >= 0)
		(void) poll(&(struct pollfd) { .fd = answer.fds[0], .events = POLLIN }, 1, SPOOL_END_MS);
	return true;
}
