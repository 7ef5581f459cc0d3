"""Root touches nothing of the user's, of an image's or of the network's: a job under strace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.services.commands import wait_until
from tests.whole.strace_log import Call, calls

if TYPE_CHECKING:
    from tests.services.slurm import Cluster

pytestmark = pytest.mark.lab

REG = "10.77.0.1:5000"
NODE_PROGRAM = "/opt/hpcbox/bin/python3"
# Where a user may write, where images lie, and the container's root once it is mounted.
FORBIDDEN = re.compile(
    r"^(/home(/|$)|/tmp(/|$)|/var/tmp(/|$)|/dev/shm(/|$)|/srv(/|$)|/var/lib/hpcbox/"
    r"|/run/hpcbox/root/)"
)
BY_DESCRIPTOR = frozenset(
    ("open_tree", "move_mount", "mount_setattr", "fsmount", "fchown", "fstat")
)
TRACED = (
    "%file,%creds,%process,read,pread64,open_tree,move_mount,mount_setattr,fsopen,fsconfig,fsmount"
)
PATHS = re.compile(r'(?:(\w+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


def touched(call: Call) -> list[str]:
    """The absolute paths that a call names, relative ones joined with their descriptor's."""
    paths = []
    for _descriptor, folder, path in PATHS.findall(call.arguments):
        # glibc calls fstat(2) by this name.
        if call.name == "newfstatat" and not path and "AT_EMPTY_PATH" in call.arguments:
            continue
        paths.append(path if path.startswith("/") else f"{folder}/{path}".rstrip("/"))
    if call.name in ("read", "pread64"):
        descriptor = re.match(r"\d+<([^>]*)>", call.arguments)
        paths += [] if descriptor is None else [descriptor[1]]
    return paths


def offences(log: str) -> list[str]:
    found = []
    for call in calls(log.splitlines()):
        if call.euid != 0 or call.program != NODE_PROGRAM or call.name in BY_DESCRIPTOR:
            continue
        found += [
            f"{call.name}({call.arguments}" for path in touched(call) if FORBIDDEN.match(path)
        ]
    return found


@pytest.mark.parametrize("presence", ["missing", "present"])
def test_root_touches_no_path_of_a_user_or_an_image(cluster: Cluster, presence: str) -> None:
    if presence == "missing":
        cluster.run(["hpcbox", "rm", "--all"], user="root", node="n1")
    log = "/run/strace.log"
    slurmd = cluster.slurmd_pid("n1")
    tracer = cluster.start(
        ["strace", "-f", "-y", "-s", "4096", "-e", f"trace={TRACED}"]
        + ["-o", log, "-p", str(slurmd)],
        user="root",
        node="n1",
    )
    assert tracer.stderr is not None
    assert b"attached" in tracer.stderr.readline()
    cluster.run(["mkdir", "-p", "/srv/shared/data"], check=True)

    done = cluster.run(
        ["srun", "-w", "n1", f"--container={REG}/debian:1"]
        + ["--container-mounts=/srv/shared/data:/data", "test", "-e", "/etc/hpcbox-lab-image"],
        timeout_seconds=120,
    )
    tracer.terminate()
    tracer.communicate(timeout=30)
    text = cluster.file("n1", log).read_text(errors="replace")
    cluster.run(["rm", log], user="root", node="n1")

    assert done.returncode == 0, done.stderr
    # The log is worth something: root did start the program, the others were seen at work.
    seen = {(call.euid, call.name) for call in calls(text.splitlines())}
    assert (0, "move_mount") in seen
    assert (2001, "openat2") in seen
    assert (990, "openat") in seen
    assert offences(text) == []


def test_a_log_in_which_root_opens_a_users_file_is_an_offence() -> None:
    log = f'7 execve("{NODE_PROGRAM}", ["python3"], 0x7) = 0\n'

    assert offences(log + '7 openat(AT_FDCWD</>, "/home/alice/x", O_RDONLY) = 3</home/alice/x>')
    assert offences(log + '7 openat(5</var/lib/hpcbox/images>, "a.json", O_RDONLY) = 3')
    assert offences(log + "7 read(3</var/lib/hpcbox/images/a.json>, ...) = 5")
    assert offences(log + '7 newfstatat(5</var/lib/hpcbox/images>, "a.json", {}, 0) = 0')
    assert not offences(log + '7 newfstatat(5</var/lib/hpcbox/x>, "", {}, AT_EMPTY_PATH) = 0')
    assert not offences(
        log + "7 setresuid(2001, 2001, 2001) = 0\n"
        '7 openat(AT_FDCWD</>, "/home/alice/x", O_RDONLY) = 3</home/alice/x>'
    )


def test_the_fetcher_and_the_opener_cannot_be_traced_by_the_user(cluster: Cluster) -> None:
    """A user who traced them could tell the service user that a registry had said yes."""
    cluster.run(["hpcbox", "rm", "--all"], user="root", node="n1")
    step = cluster.start(["srun", "-w", "n1", f"--container={REG}/mpich:1", "true"])
    readable: list[str] = []

    def watched() -> bool:
        script = (
            "for p in /proc/[0-9]*; do [ -O $p/comm ] || continue; "
            "grep -qs 'hpcbox[.]node' $p/cmdline && cat $p/environ 2>/dev/null; done"
        )
        readable.append(cluster.run(["sh", "-c", script], node="n1").stdout)
        return step.poll() is not None

    wait_until(watched, timeout_seconds=60, what="the step has ended")

    step.communicate()
    assert step.returncode == 0
    assert set(readable) == {""}
