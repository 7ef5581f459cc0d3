/* Helpers: start, timeout, descriptors; and which paths root trusts. */
#define _GNU_SOURCE
#include "helper.h"

#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "tap.h"

static pid_t shell(const char *script, int out)
{
	const char *const arguments[] = { "/bin/sh", "-c", script, NULL };
	static char one[] = "ONLY=this";
	static char *const environment[] = { one, NULL };

	return helper_start(&(struct helper) { .arguments = arguments, .environment = environment,
		.fds = { -1, out, STDERR_FILENO }, .fd_count = 3 });
}

static void processes(void)
{
	int out = memfd_create("out", 0), leak = open("/etc/passwd", O_RDONLY), status;
	char text[512] = "";
	struct timespec start, end;
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	status = helper_wait(shell("echo $ONLY $(ls /proc/self/fd | wc -l); kill -TERM $$; echo alive", out), 5000);
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "a helper starts with no signal blocked");
	ok(pread(out, text, sizeof(text) - 1, 0) > 0, "it writes where it is told");
	same(text, "this 4\n", "it has the given environment and no other descriptor");
	describe_status(status, text, sizeof(text));
	same(text, "killed by signal 15", "its end is described");
	describe_status(helper_wait(shell("exit 7", out), 5000), text, sizeof(text));
	same(text, "exit status 7", "so is an exit");
	clock_gettime(CLOCK_MONOTONIC, &start);
	ok(helper_wait(shell("trap '' TERM; while :; do sleep 1; done", out), 100) == -1 && errno == ETIMEDOUT, "a late helper is killed");
	clock_gettime(CLOCK_MONOTONIC, &end);
	ok(end.tv_sec - start.tv_sec < 3, "in time");
	ok(WEXITSTATUS(helper_wait(helper_start(&(struct helper) { .arguments = (const char *const[]) { "/nonexistent", NULL },
		.environment = environ, .fd_count = 0 }), 5000)) == 127, "a program that isn't there ends with 127");
	close(leak);
	close(out);
}

static void dies_with_parent(void)
{
	int ends[2];
	char byte;
	pid_t parent;

	if (pipe2(ends, O_CLOEXEC) < 0)
		exit(99);
	parent = fork();
	if (parent == 0) {
		(void) shell("while :; do sleep 1; done", ends[1]);
		_exit(0);
	}
	close(ends[1]);
	waitpid(parent, NULL, 0);
	ok(read(ends[0], &byte, 1) == 0, "a helper dies with its parent");
	close(ends[0]);
}

static void arguments(void)
{
	char python[] = "python=/opt/p", prefix[] = "prefix=/opt/lib", settings[] = "settings=/etc/s", relative[] = "settings=s";
	struct program program;

	same(program_parse(&program, 3, (char *[]) { settings, python, prefix }), NULL, "three absolute paths are a program");
	same(program.prefix, "/opt/lib", "each in its place");
	same(program_parse(&program, 2, (char *[]) { settings, prefix }), "python=", "a missing one is named");
	same(program_parse(&program, 3, (char *[]) { relative, python, prefix }), "settings=", "a relative one too");
}

static void check(const char *root, const char *path, const char *reason, const char *sentence)
{
	char full[256], text[PATH_MAX] = "";

	snprintf(full, sizeof(full), "%s%s", root, path);
	same(path_distrust(full, strlen(root), geteuid(), text), reason, sentence);
}

static void trust(void)
{
	const char *root = new_folder();

	if (chdir(root) < 0 || mkdir("bin", 0755) < 0 || mkdir("open", 0755) < 0 || chmod("open", 0775) < 0)
		exit(99);
	write_file("bin/python", "", 0755);
	write_file("bin/shared", "", 0664);
	write_file("open/python", "", 0755);
	if (symlink("../bin/python", "bin/link") || symlink("open/python", "sly") || symlink("loop", "loop") || symlink("bin", "dir"))
		exit(99);
	check(root, "/bin/python", NULL, "a file nobody else can write is trusted");
	check(root, "//bin/./python", NULL, "however its path is written");
	check(root, "/bin/link", NULL, "a link to it is trusted");
	check(root, "/dir/link", NULL, "and one through a linked folder");
	check(root, "/bin/shared", "can be written by others than root", "a file its group can write is not");
	check(root, "/open/python", "can be written by others than root", "nor one in a folder its group can write");
	check(root, "/sly", "can be written by others than root", "nor a link into such a folder");
	check(root, "/loop", "is a symbolic link too many", "a loop ends");
	check(root, "/bin/none", "No such file or directory", "what is missing is said to be");
	if (geteuid() == 0 && chown("bin/shared", 65534, 65534) == 0 && chmod("bin/shared", 0755) == 0)
		check(root, "/bin/shared", "does not belong to root", "another owner's file is not trusted");
	remove_folder();
}

static void memory_files(void)
{
	int file = memory_file("test", "content", 7);
	char text[8] = "";

	ok(read(file, text, 8) == 7 && strcmp(text, "content") == 0, "a memory file stands at its beginning");
	ok(pwrite(file, "x", 1, 0) < 0, "and can't be changed");
	close(file);
}

int main(void)
{
	processes();
	dies_with_parent();
	arguments();
	memory_files();
	trust();
	return done();
}
