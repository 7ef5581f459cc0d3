/* The option table and the rules for values. */
#define _GNU_SOURCE
#include "options.h"
#include "tap.h"

static void values(void)
{
	char long_value[32 * 1024 + 2];

	same(value_problem("docker.io/library/debian:12"), NULL, "an ordinary value is fine");
	same(value_problem("a b;$(c)`d`&|<>'\"\\*?"), NULL, "shell characters are just characters");
	same(value_problem("/über/目录/😀"), NULL, "UTF-8 of two, three and four bytes is fine");
	ok(value_problem("") != NULL, "an empty value is refused");
	ok(value_problem("a\nb") && value_problem("a\tb") && value_problem("\x7f"), "control characters are refused");
	ok(value_problem("a\xc2\x85" "b") != NULL, "C1 control characters are refused");
	ok(value_problem("\xff") && value_problem("\xc3") && value_problem("\xc3("), "broken UTF-8 is refused");
	ok(value_problem("\xc0\xaf") && value_problem("\xe0\x80\xaf"), "overlong UTF-8 is refused");
	ok(value_problem("\xed\xa0\x80") && value_problem("\xf4\x90\x80\x80"), "surrogates and what is above Unicode are refused");
	memset(long_value, 'x', sizeof(long_value));
	long_value[sizeof(long_value) - 1] = '\0';
	ok(value_problem(long_value) != NULL, "a value above 32 KiB is refused");
	long_value[32 * 1024] = '\0';
	same(value_problem(long_value), NULL, "a value of 32 KiB is fine");
}

static void sources(void)
{
	struct options options = { 0 };
	struct option_value found;

	option_value(&options, OPTION_MOUNTS, &found);
	ok(found.value == NULL, "an option nobody set has no value");
	setenv("PYXIS_CONTAINER_MOUNTS", "/pyxis", 1);
	option_value(&options, OPTION_MOUNTS, &found);
	same(found.value, "/pyxis", "PYXIS_CONTAINER_MOUNTS is the last default");
	same(found.source, "PYXIS_CONTAINER_MOUNTS", "its name is kept for messages");
	setenv("HPCBOX_CONTAINER_MOUNTS", "", 1);
	option_value(&options, OPTION_MOUNTS, &found);
	same(found.value, "/pyxis", "an empty variable is no default");
	setenv("HPCBOX_CONTAINER_MOUNTS", "/hpcbox", 1);
	option_value(&options, OPTION_MOUNTS, &found);
	same(found.value, "/hpcbox", "HPCBOX_CONTAINER_MOUNTS beats it");
	setenv("SLURM_HPCBOX_MOUNTS", "/job", 1);
	option_value(&options, OPTION_MOUNTS, &found);
	ok(strcmp(found.value, "/job") == 0 && !found.given, "what the job's client exported beats both");
	option_give(&options, OPTION_MOUNTS, "/first");
	option_give(&options, OPTION_MOUNTS, "/flag");
	option_value(&options, OPTION_MOUNTS, &found);
	ok(strcmp(found.value, "/flag") == 0 && found.given, "the command line beats all, its last word counts");
	free(options.given[OPTION_MOUNTS]);
	unsetenv("PYXIS_CONTAINER_MOUNTS");
	unsetenv("HPCBOX_CONTAINER_MOUNTS");
	unsetenv("SLURM_HPCBOX_MOUNTS");
}

static void usable(enum option_id id, const char *value, const char *line, const char *sentence)
{
	struct options options = { 0 };
	int is_usable;

	option_give(&options, id, value);
	capture_stderr();
	is_usable = options_usable(&options, true);
	same(captured(), line, sentence);
	ok(is_usable == (*line == '\0'), "… and the answer agrees");
	free(options.given[id]);
}

static void effects(void)
{
	struct options none = { 0 };
	int with_image, without_image;

	usable(OPTION_ENV, "A,B", "", "an option with an effect is accepted");
	usable(OPTION_NAME, "x", "hpcbox: --container-name is not supported by this version of hpcbox — leave it out\n",
	       "an option without one is refused");
	usable(OPTION_MOUNT_HOME, "0", "", "--no-container-mount-home is what happens anyway");
	usable(OPTION_MOUNT_HOME, "1", "hpcbox: --container-mount-home is not supported by this version of hpcbox — leave it out\n",
	       "--container-mount-home is refused");
	usable(OPTION_WRITABLE, "1", "", "--container-writable is what happens anyway");
	usable(OPTION_WRITABLE, "0", "hpcbox: --container-readonly is not supported by this version of hpcbox — leave it out\n",
	       "--container-readonly is refused by its own name");
	usable(OPTION_MOUNTS, "a\nb", "hpcbox: --container-mounts: contains a newline or another control character"
	       " — write it on one line\n", "a bad value is named on one line");
	setenv("PYXIS_CONTAINER_REMAP_ROOT", "perhaps", 1);
	capture_stderr();
	without_image = options_usable(&none, false);
	with_image = options_usable(&none, true);
	same(captured(), "hpcbox: PYXIS_CONTAINER_REMAP_ROOT: is neither yes nor no — use 1 or 0\n",
	     "a default that makes no sense is named");
	ok(without_image && !with_image, "… only in a job with an image");
	setenv("PYXIS_CONTAINER_REMAP_ROOT", "False", 1);
	ok(options_usable(&none, true), "a switch may be off by its variable");
	unsetenv("PYXIS_CONTAINER_REMAP_ROOT");
}

static void table(void)
{
	int complete = 1;

	for (int id = 0; id < OPTION_COUNT; id++) {
		const struct option_row *row = &option_rows[id];

		complete &= row->name && row->help && row->variable && strcmp(row->name, "container") != 0;
		complete &= !(row->argument && row->negative);
	}
	ok(complete, "every row is complete and none is Slurm's own --container");
	ok(switch_value("YES") == 1 && switch_value("off") == 0 && switch_value("2") == -1, "switches know yes and no");
}

int main(void)
{
	values();
	sources();
	effects();
	table();
	return done();
}
