/* The client's decision, with a shell script in the place of Python. */
#define _GNU_SOURCE
#include "client.h"

#include "request.h"
#include "tap.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char resolver[128];

static void write_resolver(const char *body)
{
	char script[512];

	snprintf(script, sizeof(script), "#!/bin/sh\n%s\n", body);
	write_file(resolver, script, 0755);
}

/* What a command line in a job's environment leads to. */
static int decide(const char *inherited, const char *container, const char *image)
{
	struct options options = { 0 };
	const struct program program = { .python = resolver };
	int code;

	if (inherited)
		setenv("SLURM_CONTAINER", inherited, 1);
	client_begin();
	if (container) /* as Slurm does: never over what is set */
		setenv("SLURM_CONTAINER", container, 0);
	if (image)
		option_give(&options, OPTION_IMAGE, image);
	capture_stderr();
	code = client_decide(&options, &program);
	free(options.given[OPTION_IMAGE]);
	return code;
}

static void forget(void)
{
	static const char *const names[] = { "SLURM_CONTAINER", "SLURM_HPCBOX_IMAGE", "SLURM_HPCBOX_SCRIPT", "HPCBOX_CONTAINER_IMAGE" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

static void resolving(void)
{
	write_resolver("[ \"$*\" = '-I -m hpcbox resolve --wire img:1' ] && echo sha256:" HEX);
	ok(decide(NULL, "img:1", NULL) == 0, "an image is resolved");
	same(captured(), "", "silently");
	same(getenv("SLURM_HPCBOX_IMAGE"), "img:1 sha256:" HEX, "its digest is exported");
	same(getenv("SLURM_HPCBOX_SCRIPT"), "host", "and where the script runs");
	same(getenv("SLURM_CONTAINER"), "img:1", "Slurm's variable stays");
	write_resolver("exit 66");
	ok(decide("img:1", NULL, NULL) == 0, "an inner step reuses the digest");
	captured();
	same(getenv("SLURM_CONTAINER"), "img:1", "and Slurm's variable comes back");
	forget();
	write_resolver("exit 69");
	ok(decide(NULL, NULL, "img:2") == 0, "a registry that can't be reached is left to the nodes");
	captured();
	same(getenv("SLURM_HPCBOX_IMAGE"), "img:2 -", "without a digest");
	same(getenv("SLURM_HPCBOX_SCRIPT"), "inside", "--container-image takes the script inside");
	forget();
	write_resolver("echo 'hpcbox: img:3: no — yes' >&2; exit 66");
	ok(decide(NULL, NULL, "img:3") == 125, "an image that isn't there ends the client");
	same(captured(), "hpcbox: img:3: no — yes\n", "with the line of hpcbox resolve");
	ok(!getenv("SLURM_HPCBOX_IMAGE"), "and nothing is exported");
	write_resolver("exit 1");
	ok(decide(NULL, NULL, "img:4") == 125, "so does a resolver that breaks");
	same(captured(), "hpcbox: img:4: hpcbox resolve failed: exit status 1 — try: hpcbox resolve 'img:4'\n", "with a line of ours");
}

static void resolving_here(void)
{
	forget();
	write_resolver("echo 'reference dir:/home/a b'; echo sha256:" HEX);
	ok(decide(NULL, "dir:a b", NULL) == 0, "an image of this machine is resolved");
	captured();
	same(getenv("SLURM_HPCBOX_IMAGE"), "dir:/home/a b sha256:" HEX, "and exported with its whole path");
	forget();
	write_resolver("echo 'reference /home/a.sqsh'; exit 69");
	ok(decide(NULL, "a.sqsh", NULL) == 0, "the path comes first");
	captured();
	same(getenv("SLURM_HPCBOX_IMAGE"), "/home/a.sqsh -", "so it is known without the digest too");
	forget();
	write_resolver("echo 'reference /home/a.sqsh'; echo 'hpcbox: broken' >&2; exit 65");
	ok(decide(NULL, "a.sqsh", NULL) == 125, "a file that can't be used ends the client");
	same(captured(), "hpcbox: broken\n", "with the line of hpcbox resolve");
	forget();
}

static void flags(void)
{
	write_resolver("exit 69");
	setenv("SLURM_SPANK__SLURM_SPANK_OPTION_hpcbox_container_image", "outer", 1);
	setenv("SLURM_SPANK__SLURM_SPANK_OPTION_other_x", "kept", 1);
	ok(decide(NULL, "a", "b") == 125, "two images are refused");
	same(captured(), "hpcbox: --container=a and --container-image=b name different images — give one of them\n", "both are named");
	ok(!getenv("SLURM_SPANK__SLURM_SPANK_OPTION_hpcbox_container_image"), "the outer job's options aren't replayed");
	same(getenv("SLURM_SPANK__SLURM_SPANK_OPTION_other_x"), "kept", "another plugin's are");
	forget();
	ok(decide("outer", "none", NULL) == 0, "a step can decline the job's image");
	captured();
	same(getenv("SLURM_HPCBOX_IMAGE"), "none -", "for the steps within it too");
	ok(decide("outer", NULL, "inner") == 0, "and take another");
	captured();
	same(getenv("SLURM_HPCBOX_IMAGE"), "inner -", "by either flag");
	ok(!getenv("SLURM_CONTAINER"), "Slurm's variable doesn't contradict it");
	forget();
	ok(decide(NULL, "a\nb", NULL) == 125, "Slurm's own flag is checked too");
	same(captured(), "hpcbox: --container: contains a newline or another control character — write it on one line\n", "and named");
	forget();
	ok(decide(NULL, NULL, NULL) == 0 && !getenv("SLURM_HPCBOX_IMAGE"), "a job without an image is left alone");
	captured();
}

static void marking(void)
{
	char command[] = "hostname", text[] = "0 hostname\n", folder_file[256];
	char *plain[] = { command, NULL }, *multi[] = { folder_file, text, NULL };

	client_launch(1, plain);
	same(plain[0], "hostname", "a host step's command isn't marked");
	setenv("SLURM_HPCBOX_IMAGE", "none -", 1);
	client_launch(1, plain);
	same(plain[0], "hostname", "nor that of a step that declined");
	setenv("SLURM_HPCBOX_IMAGE", "img -", 1);
	snprintf(folder_file, sizeof(folder_file), "%s.conf", resolver);
	write_file(folder_file, text, 0644);
	client_launch(2, multi);
	same(multi[0], folder_file, "a --multi-prog file isn't either");
	client_launch(1, plain);
	same(plain[0], COMMAND_MARK "hostname", "a container step's command is");
	free(plain[0]);
	forget();
}

int main(void)
{
	snprintf(resolver, sizeof(resolver), "%s/python", new_folder());
	forget();
	resolving();
	resolving_here();
	flags();
	marking();
	remove_folder();
	return done();
}
