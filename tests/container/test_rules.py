"""The container rules, each for both ways in: `hpcbox run` as alice, and srun with the plugin."""

from __future__ import annotations

import pytest

from tests.container.asking import IMAGE, REG, Way

pytestmark = pytest.mark.lab


def test_the_command_is_inside_as_the_user(way: Way) -> None:
    lines = way.sh("test -e /etc/hpcbox-lab-image && ! test -e /etc/hpcbox-lab-host && id -un")

    assert lines == ["alice"]


@pytest.mark.parametrize(("script", "code"), [("exit 42", 42), ("kill -SEGV $$", 139)])
def test_the_code_is_the_commands_own(way: Way, script: str, code: int) -> None:
    assert way.run("sh", "-c", script).returncode == code


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("nope", 127, f"nope: not found in image {IMAGE} (PATH=/usr/local/sbin:"),
        ("/nope/nope", 127, f"/nope/nope: not found in image {IMAGE}"),
        ("/etc/passwd", 126, f"/etc/passwd: not executable in image {IMAGE}"),
        ("/etc", 126, f"/etc: not executable in image {IMAGE}"),
    ],
)
def test_a_command_the_image_lacks_is_named(way: Way, command: str, code: int, reason: str) -> None:
    assert reason in way.refused(command, code=code)


def test_variables_follow_the_table(way: Way) -> None:
    env = {"OWN": "host", "HPCBOX_LAB_IMAGE": "host", "HPCBOX_IMAGE": "host"}
    lines = way.sh("echo $OWN $HPCBOX_LAB_IMAGE $HPCBOX_IMAGE $PATH", env=env)

    # The image's own HPCBOX_ variables are hpcbox's to set: the lab's isn't taken from it.
    own, lab_image, image, path = lines[0].split()
    assert (own, lab_image, image) == ("host", "host", IMAGE)
    assert path.startswith("/usr/local/sbin:")


def test_container_env_lets_the_host_win(way: Way) -> None:
    env = {"PATH": "/usr/bin:/bin:/opt/hpcbox/bin"}
    lines = way.sh("echo $PATH", "--container-env=PATH", env=env)

    assert lines == [env["PATH"]]


def test_the_image_is_named_by_its_digest(way: Way) -> None:
    lines = way.sh("echo $HPCBOX_IMAGE_DIGEST")

    assert lines[0].startswith("sha256:")
    assert len(lines[0]) == 7 + 64


def test_the_working_directory_is_the_callers(way: Way) -> None:
    way.cluster.run(["mkdir", "-p", "/srv/shared/here"], check=True)

    done = way.run("pwd", cwd="/srv/shared/here")

    assert done.stdout == "/srv/shared/here\n", done.stderr


def test_the_images_working_directory_comes_before_the_callers(way: Way) -> None:
    done = way.run("pwd", image=f"{REG}/mpich:1")

    assert done.stdout == "/opt/mpi\n", done.stderr


def test_container_workdir_wins(way: Way) -> None:
    assert way.sh("pwd", "--container-workdir=/usr/lib") == ["/usr/lib"]


def test_a_working_directory_that_the_image_lacks_is_named(way: Way) -> None:
    line = way.refused("pwd", options=("--container-workdir=/missing",))

    assert "cannot use the working directory /missing" in line


def test_folders_and_files_are_mounted_as_asked(way: Way) -> None:
    way.cluster.run(["sh", "-c", "mkdir -p data && echo there > data/file"], check=True)

    lines = way.sh(
        "cat /in/data/file /opt/file; touch /in/data/x 2>/dev/null || echo ro; "
        "touch /scratch/y && df -t tmpfs /scratch >/dev/null && echo tmpfs",
        "--container-mounts=/home/alice/data:/in/data:ro,tmpfs:/scratch,"
        "/home/alice/data/file:/opt/file",
    )

    assert lines == ["there", "there", "ro", "tmpfs"]


def test_every_mount_is_nosuid_and_only_dev_has_devices(way: Way) -> None:
    lines = way.sh("cat /proc/self/mountinfo", "--container-mounts=/home/alice:/in,tmpfs:/t")

    for line in lines:
        target, options = line.split()[4:6]
        assert "nosuid" in options.split(","), line
        assert "nodev" in options.split(",") or target.startswith("/dev"), line


def test_a_mount_keeps_what_its_source_forbids(way: Way) -> None:
    lines = way.sh("cat /proc/self/mountinfo", "--container-mounts=/opt/hpcbox:/in:rw")

    assert [line.split()[5].split(",")[0] for line in lines if line.split()[4] == "/in"] == ["ro"]


@pytest.mark.parametrize(
    ("mount", "reason"),
    [
        ("/missing:/x", "cannot mount /missing at /x: No such file or directory"),
        ("/etc/shadow:/proc/x", "nothing may be mounted over /proc"),
        ("/tmp:/", "nothing may be mounted over /"),
        ("/tmp:/a/../proc", "climbs with"),
        ("/root/x:/x", "Permission denied"),
        ("/tmp:/x:shiny", "unknown flag 'shiny'"),
        ("/tmp:/etc/passwd", "has a file there"),
        ("/etc/hostname:/usr", "has a folder there"),
    ],
)
def test_a_mount_that_cannot_be_made_is_refused(way: Way, mount: str, reason: str) -> None:
    assert reason in way.refused("true", options=(f"--container-mounts={mount}",))


def test_a_target_that_a_symlink_leads_to_proc_is_refused(way: Way) -> None:
    way.cluster.run(["sh", "-c", "mkdir -p trap && ln -sfn /proc trap/link"], check=True)

    line = way.refused(
        "true", options=("--container-mounts=/home/alice/trap:/trap,/tmp:/trap/link",)
    )

    assert "leads to /proc" in line


def test_a_target_whose_symlink_climbs_stays_in_the_root(way: Way) -> None:
    way.cluster.run(
        ["sh", "-c", "mkdir -p climb data && ln -sfn ../../../../../../opt climb/out"], check=True
    )

    lines = way.sh(
        "touch /opt/made/x && ls /opt",
        "--container-mounts=/home/alice/climb:/climb,tmpfs:/climb/out/made",
    )

    assert lines == ["made"]
    assert "made" not in way.cluster.run(["ls", "/opt"], node="n1").stdout.split()


def test_nothing_inside_has_a_capability_or_can_get_one(way: Way) -> None:
    lines = way.sh("grep -E '^(Cap|NoNew)' /proc/self/status")

    values = dict(line.split(":\t") for line in lines)
    assert values.pop("NoNewPrivs") == "1"
    # The plugin's tasks keep the bounding set, which no_new_privs makes worthless.
    if way.site:
        del values["CapBnd"]
    assert set(values.values()) == {"0" * 16}


def test_there_is_no_descriptor_but_the_standard_three(way: Way) -> None:
    # The fourth is the listing's own.
    assert way.sh("ls /proc/self/fd") == ["0", "1", "2", "3"]


def test_the_user_owns_the_root_and_it_is_new_each_time(way: Way) -> None:
    lines = way.sh(
        "stat -c %U / /etc/passwd /usr/bin/env && touch /new /usr/lib/new && rm /etc/os-release"
    )

    assert set(lines) == {"alice"}
    assert way.sh("test -e /new || echo gone") == ["gone"]


def test_user_hosts_and_names_are_the_nodes(way: Way) -> None:
    lines = way.sh("grep ^alice: /etc/passwd; grep -c ^alice: /etc/group; cat /etc/hosts")

    host = way.cluster.run(["sh", "-c", "grep ^alice: /etc/passwd; cat /etc/hosts"], node="n1")
    password, *hosts = host.stdout.splitlines()
    assert lines[0].split(":")[2:] == password.split(":")[2:]
    assert lines[1] == "1"
    assert lines[2:] == hosts


def test_stdin_reaches_the_command(way: Way) -> None:
    assert way.run("cat", stdin="through\n").stdout == "through\n"


def test_an_image_without_a_shell_runs(way: Way) -> None:
    done = way.run("/static", image=f"{REG}/static:1")

    assert (done.returncode, "hostmarker absent" in done.stdout) == (0, True), done.stderr


def test_upper_layers_hide_what_they_say(way: Way, odd_registry: str) -> None:
    done = way.run("/bin/busybox", "ls", "/", "/all", image=f"{odd_registry}/hides:1")

    shown = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert shown.count("shown") == 2
    assert "hidden" not in shown


def test_an_image_that_does_not_exist_is_named(way: Way) -> None:
    done = way.run("true", image=f"{REG}/nope:1")

    assert done.returncode == 125
    assert "nope:1" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "option",
    ["--container-name=x", "--container-save=/tmp/x", "--container-remap-root"]
    + ["--container-mount-home", "--container-entrypoint", "--container-readonly"],
)
def test_an_option_that_is_not_built_yet_is_refused_by_name(way: Way, option: str) -> None:
    assert option.partition("=")[0] in way.refused("true", options=(option,))


@pytest.mark.parametrize("value", ["/a\nb", b"/\xff".decode("utf-8", "surrogateescape"), ""])
def test_a_wrong_value_names_its_option(way: Way, value: str) -> None:
    assert "--container-workdir" in way.refused("true", options=(f"--container-workdir={value}",))
