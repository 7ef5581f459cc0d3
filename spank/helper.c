/* helper.c owns the birth, the waiting and the death of helper processes, and the check of the
 * paths that root executes. What they are asked and answer belongs to client.c and node_step.c. */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"

const char *program_parse(struct program *program, int count, char *const arguments[])
{
	static const char *const names[] = { "python=", "prefix=", "settings=" };
	const char **places[] = { &program->python, &program->prefix, &program->settings };

	for (size_t i = 0; i < 3; i++) {
		*places[i] = NULL;
		for (int k = 0; k < count; k++)
			if (strncmp(arguments[k], names[i], strlen(names[i])) == 0)
				*places[i] = arguments[k] + strlen(names[i]);
		if (!*places[i] || **places[i] != '/')
			return names[i];
	}
	return NULL;
}

/* Between fork and exec only async-signal-safe calls: slurmstepd has threads and locks. */
static void become_root_only(void)
{
	umask(022);
	if (chdir("/") || setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0))
		_exit(127);
}

static void default_signals(void)
{
	sigset_t none;
	struct sigaction action = { .sa_handler = SIG_DFL };

	for (int number = 1; number < NSIG; number++)
		(void) sigaction(number, &action, NULL);
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static void place_descriptors(const struct helper *helper)
{
	int high[HELPER_FDS_MAX];

	/* First out of the way of the numbers they are to get. */
	for (int i = 0; i < helper->fd_count; i++) {
		int fd = helper->fds[i] < 0 ? open("/dev/null", O_RDWR | O_CLOEXEC) : helper->fds[i];

		high[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 2 * HELPER_FDS_MAX);
	}
	for (int i = 0; i < helper->fd_count; i++)
		if (high[i] < 0 || dup2(high[i], i) < 0)
			_exit(127);
	if (syscall(SYS_close_range, (unsigned int) helper->fd_count, ~0U, 0) < 0)
		_exit(127);
}

pid_t helper_start(const struct helper *helper)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	default_signals();
	if (helper->root)
		become_root_only();
	/* After the change of ids, which clears it; a parent that died before is seen by its pid. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(127);
	place_descriptors(helper);
	/* POSIX keeps argv's type for old code only: execve doesn't write to it. */
	execve(helper->arguments[0], (char *const *) (size_t) helper->arguments, helper->environment);
	_exit(127);
}

int helper_wait(pid_t pid, int timeout_ms)
{
	AUTO_CLOSE int handle = (int) syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = { .fd = handle, .events = POLLIN };
	bool late = handle < 0 || poll(&ended, 1, timeout_ms) == 0;
	int status = 0;

	if (late)
		(void) kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	if (!late)
		return status;
	errno = ETIMEDOUT;
	return -1;
}

void describe_status(int status, char *text, size_t size)
{
	if (status < 0)
		(void) snprintf(text, size, "%s", strerror(errno));
	else if (WIFSIGNALED(status))
		(void) snprintf(text, size, "killed by signal %d", WTERMSIG(status));
	else
		(void) snprintf(text, size, "exit status %d", WEXITSTATUS(status));
}

int memory_file(const char *name, const char *content, size_t size)
{
	AUTO_CLOSE int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (file < 0 || pwrite(file, content, size, 0) != (ssize_t) size)
		return -1;
	if (fcntl(file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -1;
	return steal_fd(&file);
}

/* The path a link at text[..end] leads to, with what follows it. False when it is too long. */
static bool follow_link(const char *text, size_t end, const char *rest, char *path, size_t size)
{
	char target[PATH_MAX];
	ssize_t length = readlink(text, target, sizeof(target) - 1);

	while (end > 0 && text[end - 1] != '/')
		end--;
	if (length <= 0)
		return false;
	target[length] = '\0';
	return snprintf(path, size, "%.*s%s%s", target[0] == '/' ? 0 : (int) end, text, target, rest) < (int) size;
}

const char *path_distrust(const char *path, size_t trusted, uid_t owner, char text[PATH_MAX])
{
	char current[PATH_MAX], next[PATH_MAX];
	struct stat status;
	int links = 0;

	if (snprintf(current, sizeof(current), "%s", path) >= (int) sizeof(current))
		return "is too long";
	for (size_t end = trusted; current[end];) {
		end += strspn(current + end, "/");
		end += strcspn(current + end, "/");
		(void) snprintf(text, PATH_MAX, "%.*s", (int) end, current);
		if (lstat(text, &status) < 0)
			return strerror(errno);
		if (status.st_uid != owner)
			return "does not belong to root";
		if (!S_ISLNK(status.st_mode) && status.st_mode & (S_IWGRP | S_IWOTH))
			return "can be written by others than root";
		if (!S_ISLNK(status.st_mode))
			continue;
		if (++links > 40 || !follow_link(text, end, current + end, next, sizeof(next)))
			return "is a symbolic link too many";
		memcpy(current, next, sizeof(current));
		end = strncmp(current, path, trusted) == 0 ? trusted : 0;
	}
	return NULL;
}
