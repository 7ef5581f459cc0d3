/* The lookup of a command as Slurm does it. */
#define _GNU_SOURCE
#include "enter.h"

#include <sys/stat.h>

#include "tap.h"

int main(void)
{
	const char *folder = new_folder();
	char path[256], absolute[256];

	if (chdir(folder) < 0 || mkdir("a", 0755) < 0 || mkdir("b", 0755) < 0 || mkdir("a/tool", 0755) < 0)
		return 99;
	write_file("b/tool", "", 0755);
	write_file("b/data", "", 0644);
	write_file("here", "", 0755);
	snprintf(path, sizeof(path), "/nonexistent::%s/a:%s/b", folder, folder);
	snprintf(absolute, sizeof(absolute), "%s/b/tool", folder);
	ok(command_problem("tool", path) == 0, "a command is found in PATH, past a folder of its name");
	ok(command_problem(absolute, NULL) == 0, "an absolute path needs no PATH");
	ok(command_problem("./b/tool", path) == 0, "a relative path starts at the working directory");
	ok(command_problem("here", path) == 0, "what PATH doesn't have is taken from the working directory");
	ok(command_problem("nope", path) == 127 && command_problem("/nope", path) == 127, "what isn't there is 127");
	ok(command_problem("tool", NULL) == 127, "without PATH there is nothing to search");
	ok(command_problem("data", path) == 126, "a file that can't be executed is 126");
	ok(command_problem("./a", path) == 126, "a folder is 126");
	remove_folder();
	return done();
}
