/* The watcher of a job script, without Slurm. */
#define _GNU_SOURCE
#include "batch.h"

#include <signal.h>

#include "tap.h"

/* Runs a shell as the job's script below a watcher; the watcher's wait status. poke is sent to
 * the watcher once the script has said it is ready. */
static int watched(const char *script, int leave_mark, int poke)
{
	int ready[2], status;
	char byte;
	pid_t watcher;

	if (pipe(ready) < 0)
		exit(99);
	watcher = fork();
	if (watcher == 0) {
		char name[MARK_NAME_BYTES];
		int listener = mark_listen(name);

		if (listener < 0 || batch_split(listener, "hpcbox: no step ran") < 0)
			_exit(98);
		if (leave_mark)
			mark_leave(name);
		dup2(ready[1], 1);
		execl("/bin/sh", "sh", "-c", script, (char *) NULL);
		_exit(97);
	}
	close(ready[1]);
	if (poke && read(ready[0], &byte, 1) == 1)
		kill(watcher, poke);
	waitpid(watcher, &status, 0);
	close(ready[0]);
	return status;
}

static void ends(const char *script, int leave_mark, int poke, int status, const char *line, const char *sentence)
{
	int got;

	capture_stderr();
	got = watched(script, leave_mark, poke);
	same(captured(), line, sentence);
	ok(got == status, "… with its status");
	if (got != status)
		printf("# got %d, expected %d\n", got, status);
}

int main(void)
{
	ends("exit 0", 1, 0, 0, "", "a script that started a step ends as usual");
	ends("exit 0", 0, 0, 125 << 8, "hpcbox: no step ran\n", "success without a step is an error");
	ends("exit 3", 0, 0, 3 << 8, "", "a script's own failure is passed on");
	ends("kill -KILL $$", 0, 0, SIGKILL, "", "so is its death by a signal");
	ends("trap 'exit 5' USR1; echo; while :; do sleep 0.01; done", 0, SIGUSR1, 5 << 8, "", "a signal reaches the script");
	ends("echo; exec sleep 60", 0, SIGTERM, SIGTERM, "", "so does the end of the job");
	ends("kill -USR1 $PPID; exit 4", 0, 0, 4 << 8, "", "a script's signal to its watcher isn't sent back");
	mark_leave("hpcbox-nobody-listens");
	ok(1, "a mark nobody waits for is no error");
	return done();
}
