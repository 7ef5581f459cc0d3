/* A task's output on its way to the spool, played here by a child. */
#define _GNU_SOURCE
#include <sys/socket.h>

#include "output.h"
#include "tap.h"

static char one[] = "SLURM_NTASKS=2", two[] = "OTHER=x", word[] = "./a.out";
static char *words[] = { word, NULL }, *variables[] = { one, two, NULL };
static const struct output_task task = { .rank = 7, .count = 1, .arguments = words, .environment = variables, .program = -1 };

/* Answers one question with the text; prints "QUESTION FACTS READ" of what it got to out. */
static void play_spool(int channel, const char *answer, int out)
{
	struct message question = MESSAGE_INIT;
	char facts[256] = "", printed[64] = "";
	ssize_t size;

	if (channel_receive(channel, false, &question) != 1)
		_exit(1);
	close(channel);
	size = question.fds[5] < 0 ? 0 : pread(question.fds[5], facts, sizeof(facts) - 1, 0);
	for (ssize_t i = 0; i < size; i++)
		facts[i] = facts[i] ? facts[i] : '|';
	if (*answer)
		(void) !write(question.fds[0], answer, strlen(answer));
	message_clear(&(struct message) { .fds = { question.fds[0], question.fds[3], question.fds[4], -1, -1, -1, -1 } });
	if (question.fds[1] >= 0)
		(void) !read(question.fds[1], printed, sizeof(printed) - 1);
	dprintf(out, "%c %s %s", question.kind, facts, printed);
	_exit(0);
}

/* Runs the spool and a task that prints "hello"; what the spool saw, in a static buffer. */
static const char *divert(const char *answer, enum output_result *result, struct message *got)
{
	static char seen[512];
	int ends[2], out = memfd_create("seen", 0), kept = dup(STDOUT_FILENO), before = memfd_create("before", 0);
	pid_t spool;

	fflush(stdout);
	(void) !channel_pair(ends);
	spool = fork();
	if (spool == 0) {
		close(ends[0]);
		play_spool(ends[1], answer, out);
	}
	close(ends[1]);
	dup2(before, STDOUT_FILENO);
	*result = output_divert(ends[0], &task, got);
	if (*result == OUTPUT_KEPT)
		(void) !write(STDOUT_FILENO, "hello", 5);
	dup2(kept, STDOUT_FILENO);
	dup2(tap_stderr, STDERR_FILENO);
	waitpid(spool, NULL, 0);
	memset(seen, 0, sizeof(seen));
	(void) !pread(out, seen, sizeof(seen) - 1, 0);
	close(out);
	close(before);
	close(kept);
	close(ends[0]);
	return seen;
}

static void settle(void)
{
	int ends[2], out = memfd_create("seen", 0);
	char mark;

	ok(channel_pair(ends) == 0, "a channel opens");
	if (fork() == 0)
		play_spool(ends[1], "K", out);
	ok(output_settle(ends[0], 3, 256), "a task's end is answered");
	wait(NULL);
	if (fork() == 0)
		play_spool(ends[1], "", out);
	ok(output_settle(ends[0], 3, 256), "a spool that was never at work isn't missed");
	wait(NULL);
	ok(write(ends[1], "S", 1) == 1, "a spool is at work");
	if (fork() == 0)
		play_spool(ends[1], "", out);
	ok(!output_settle(ends[0], 3, 256), "one that dies instead of answering is missed");
	wait(NULL);
	close(ends[1]);
	ok(!output_settle(ends[0], 3, 256), "also by the next task");
	ok(read(ends[0], &mark, 1) == 1, "its mark stays");
	close(ends[0]);
	close(out);
}

int main(void)
{
	enum output_result result;
	struct message got = MESSAGE_INIT;

	tap_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
	same(divert("K", &result, &got), "T 1|./a.out|SLURM_NTASKS=2|OTHER=x| hello", "the spool gets words, variables and what is printed");
	ok(result == OUTPUT_KEPT, "the output is kept");
	(void) divert("Pno folder", &result, &got);
	ok(result == OUTPUT_PASSED && strcmp(got.text, "no folder") == 0, "a spool without a folder says why, and the task goes on");
	(void) divert("Ealone", &result, &got);
	ok(result == OUTPUT_REFUSED && strcmp(got.text, "alone") == 0, "the spool can refuse a task");
	got = (struct message) MESSAGE_INIT;
	(void) divert("", &result, &got);
	ok(result == OUTPUT_PASSED && !got.text[0], "a task whose spool dies goes on");
	settle();
	return done();
}
