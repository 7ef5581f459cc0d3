/* batch.c owns the process that stands between slurmstepd and a job's script, and the mark that
 * steps leave. It knows nothing of Slurm or of images. */
#define _GNU_SOURCE
#include "batch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

int mark_listen(char name[MARK_NAME_BYTES])
{
	AUTO_CLOSE int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(sa_family_t);
	const size_t start = offsetof(struct sockaddr_un, sun_path) + 1;

	/* Binding without a name lets the kernel choose one of five hexadecimal digits. */
	if (listener < 0 || bind(listener, (struct sockaddr *) &address, size) < 0)
		return -1;
	size = sizeof(address);
	if (getsockname(listener, (struct sockaddr *) &address, &size) < 0 || size <= start)
		return -1;
	(void) snprintf(name, MARK_NAME_BYTES, "%.*s", (int) (size - start), address.sun_path + 1);
	return steal_fd(&listener);
}

void mark_leave(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	AUTO_CLOSE int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t length = strlen(name);

	if (sender < 0 || length == 0 || length >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path + 1, name, length);
	(void) sendto(sender, "step", 4, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *) &address,
		      (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

/* Keeps stderr and the listener only, so that nothing the script closes is held open here. */
static void forget_descriptors(int *listener)
{
	AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void) dup2(null, STDIN_FILENO);
	(void) dup2(null, STDOUT_FILENO);
	if (dup2(*listener, 3) == 3)
		*listener = 3;
	(void) syscall(SYS_close_range, 4U, ~0U, 0);
	steal_fd(&null);
}

static int wait_and_forward(pid_t script, const sigset_t *all)
{
	int status = 0;
	siginfo_t signal;

	/* Slurm signals only its own children (proctrack/cgroup) or one pid (scancel --batch). A
	 * signal to the whole process group (scancel --full) reaches the script twice. */
	while (waitpid(script, &status, WNOHANG) != script) {
		if (sigwaitinfo(all, &signal) < 0 || signal.si_signo == SIGCHLD)
			continue;
		if (signal.si_pid != script)
			(void) kill(script, signal.si_signo);
	}
	return status;
}

static void die_by(int number)
{
	struct rlimit no_core = { 0 };
	sigset_t set;

	(void) setrlimit(RLIMIT_CORE, &no_core);
	(void) signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	(void) raise(number);
	(void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int batch_split(int listener, const char *line)
{
	sigset_t all, before;
	pid_t parent = getpid(), script;
	char mark;
	int status;

	sigfillset(&all);
	(void) signal(SIGCHLD, SIG_DFL);
	if (sigprocmask(SIG_BLOCK, &all, &before) < 0 || (script = fork()) < 0)
		return -1;
	if (script == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
			_exit(EXIT_NOT_STARTED);
		return sigprocmask(SIG_SETMASK, &before, NULL);
	}
	/* This process still holds slurmstepd's memory: the user must not look into it. */
	(void) prctl(PR_SET_DUMPABLE, 0);
	forget_descriptors(&listener);
	status = wait_and_forward(script, &all);
	if (WIFSIGNALED(status))
		die_by(WTERMSIG(status));
	if (status == 0 && recv(listener, &mark, 1, MSG_DONTWAIT) < 0) {
		say_line(line);
		_exit(EXIT_NOT_STARTED);
	}
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}
