/* Which image wins, and the JSON a node program gets. */
#define _GNU_SOURCE
#include "request.h"
#include "tap.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void choice(struct image_sources sources, const char *reference, const char *digest, int inside,
		   const char *sentence)
{
	struct image_choice chosen;
	int fits = choose_image(&sources, &chosen);

	fits = fits && (reference ? chosen.reference && strcmp(chosen.reference, reference) == 0 : !chosen.reference);
	fits = fits && (digest ? chosen.digest && strcmp(chosen.digest, digest) == 0 : !chosen.digest);
	ok(fits && chosen.script_inside == inside, sentence);
	image_choice_clear(&chosen);
}

static void table(void)
{
	static const char digest[] = "sha256:" HEX, decided[] = "job:1 sha256:" HEX;
	struct image_choice chosen;

	choice((struct image_sources) { 0 }, NULL, NULL, 1, "nothing named: no container");
	choice((struct image_sources) { .environment = "env" }, "env", NULL, 1, "an environment default runs the script inside");
	choice((struct image_sources) { .container_flag = "a" }, "a", NULL, 0, "--container leaves the script on the host");
	choice((struct image_sources) { .image_flag = "a" }, "a", NULL, 1, "--container-image takes it inside");
	choice((struct image_sources) { .container_flag = "a", .image_flag = "a" }, "a", NULL, 1, "both flags may agree");
	choice((struct image_sources) { .decided = decided, .decided_script = "inside", .environment = "env" },
	       "job:1", digest, 1, "the job's image beats the environment and brings its digest");
	choice((struct image_sources) { .decided = decided, .decided_script = "host" }, "job:1", digest, 0,
	       "where the script runs is inherited too");
	choice((struct image_sources) { .decided = decided, .container_flag = "b" }, "b", NULL, 0, "a flag beats the job's image");
	choice((struct image_sources) { .decided = decided, .image_flag = "job:1" }, "job:1", digest, 1,
	       "a flag with the same name reuses the digest");
	choice((struct image_sources) { .decided = "job:1 -", .image_flag = "job:1" }, "job:1", NULL, 1,
	       "an unresolved image stays unresolved");
	choice((struct image_sources) { .decided = decided, .container_flag = "none" }, "none", NULL, 0, "none declines the job's image");
	choice((struct image_sources) { .decided = "none -", .inherited_container = "c", .environment = "env" }, "none", NULL, 0,
	       "a declined image stays declined");
	choice((struct image_sources) { .inherited_container = "c", .environment = "env" }, "c", NULL, 0,
	       "SLURM_CONTAINER of a client without hpcbox counts");
	choice((struct image_sources) { .decided = "/my images/a.sqsh -" }, "/my images/a.sqsh", NULL, 0, "a reference may hold spaces");
	choice((struct image_sources) { .image_flag = "a@sha256:" HEX }, "a@sha256:" HEX, digest, 1, "a reference may carry its digest");
	choice((struct image_sources) { .decided = "nonsense" }, NULL, NULL, 1, "half a decision is none");
	ok(!choose_image(&(struct image_sources) { .container_flag = "a", .image_flag = "b" }, &chosen), "flags that differ are refused");
	ok(is_digest(digest) && !is_digest("sha256:" HEX "0") && !is_digest("sha256:ABC"), "a digest is sha256 and 64 digits");
}

static void json(void)
{
	char *text = request_json(&(struct request) { .image = "a\"b\\c", .mounts = "/ü:/x", .cwd = "/a\n\xff\x7f" });

	same(text, "{\"version\":1,\"image\":\"a\\\"b\\\\c\",\"digest\":null,\"mounts\":\"/ü:/x\",\"workdir\":null,"
	     "\"env\":null,\"cwd\":\"/a\\u000a\\udcff\\u007f\",\"submit_dir\":null,\"script\":null,\"run\":null,\"registries\":null}", "JSON is escaped, null where unset, bytes survive");
	free(text);
}

int main(void)
{
	table();
	json();
	return done();
}
