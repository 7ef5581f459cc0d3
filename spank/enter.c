/* enter.c owns the system calls that change what a task is and may. It does not decide when:
 * node_step.c calls it once the process has become the job's user. */
#define _GNU_SOURCE
#include "enter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "message.h"

/* Raw system calls: libcap would be a further library inside slurmstepd. */
int capabilities_raise(uint64_t wanted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };

	if (syscall(SYS_capget, &header, sets) < 0)
		return -1;
	sets[0].effective |= (uint32_t) wanted;
	sets[1].effective |= (uint32_t) (wanted >> 32);
	return (int) syscall(SYS_capset, &header, sets);
}

int capabilities_drop(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -1;
	if (syscall(SYS_capset, &header, sets) < 0 || prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int enter_namespace(int mount_namespace)
{
	if (capabilities_raise(1ULL << CAP_SYS_ADMIN | 1ULL << CAP_SYS_CHROOT) < 0)
		return -1;
	return setns(mount_namespace, CLONE_NEWNS);
}

/* Finds the command as slurmstepd's _build_path does: the first file of that name in PATH that is
 * no directory, else relative to the working directory. */
static void find_command(const char *command, const char *path, char file[PATH_MAX])
{
	struct stat status;

	while (path && *path && *command != '/' && *command != '.') {
		size_t length = strcspn(path, ":");

		if (length > 0 && snprintf(file, PATH_MAX, "%.*s/%s", (int) length, path, command) < PATH_MAX
		    && stat(file, &status) == 0 && !S_ISDIR(status.st_mode))
			return;
		path += length + (path[length] == ':');
	}
	(void) snprintf(file, PATH_MAX, "%s", command);
}

int command_problem(const char *command, const char *path)
{
	char file[PATH_MAX];
	struct stat status;

	find_command(command, path, file);
	if (stat(file, &status) < 0)
		return EXIT_NOT_FOUND;
	return !S_ISDIR(status.st_mode) && access(file, X_OK) == 0 ? 0 : EXIT_NOT_EXECUTABLE;
}

int command_open(const char *command, const char *path)
{
	char file[PATH_MAX];

	find_command(command, path, file);
	/* It may be a pipe: whoever opens that waits. */
	return open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}
