"""kill -9 at random moments of a pull: whole layers or none, and the next pull succeeds."""

import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcbox.store import collect, images, inventory, layers
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.small_images import file, folder, hardlink, push_image, symlink, tar
from tests.store.pulling import visible

SERVICE, ALICE = 65533, 65532
LAYERS = [
    tar(folder(name), *[file(f"{name}/{number}", os.urandom(9000)) for number in range(30)],
        hardlink(f"{name}/link", f"{name}/1"), symlink(f"{name}/symlink", "1"))
    for name in ("a", "b", "c")
]  # fmt: skip
# Leans on a layer below: it is settled when all are there.
LAYERS.append(tar(file("d/x"), hardlink("d/y", "a/2")))


class Pulls:
    """Pulls of one image into one store, by processes that a test may kill."""

    def __init__(self, image: str, store: Path, form: str, *, site: bool) -> None:
        self.store = store
        self._words = [sys.executable, "-m", "hpcbox", "pull", image]
        if site:
            self._words = [sys.executable, "-m", "tests.services.relayed_pull", str(store)]
            self._words += [str(SERVICE), str(ALICE), image, "30", form]
        store.mkdir(mode=0o700)
        owner = SERVICE if site else os.geteuid()
        os.chown(store, owner, owner)

    def start(self) -> subprocess.Popen[str]:
        """Begin a pull, as the leader of a session."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        return subprocess.Popen(
            self._words,
            env={**environment, "HPCBOX_STORE": str(self.store)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> float:
        """Pull to the end; return the seconds from the first thing made in the store."""
        process = self.start()
        self.wait_for_scratch(process)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "sha256:" in out, (out, err)
        return time.monotonic() - began

    def wait_for_scratch(self, process: subprocess.Popen[str]) -> None:
        """Wait until the pull makes its first layer."""
        folder = self.store / "tmp"
        deadline = time.monotonic() + 30
        while process.poll() is None and not (folder.is_dir() and os.listdir(folder)):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def kill(self, seconds: float, choose: Callable[[list[int]], list[int]]) -> None:
        """Begin a pull and kill the processes chosen of it, so long after its first layer began."""
        process = self.start()
        self.wait_for_scratch(process)
        time.sleep(seconds)
        for victim in choose(session_of(process.pid)):
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.communicate(timeout=60)
        deadline = time.monotonic() + 10
        while left := session_of(process.pid):
            assert time.monotonic() < deadline, left
            time.sleep(0.01)

    def clear(self) -> None:
        """Empty the store."""
        collect.collect(str(self.store), collect.all_unused)
        assert visible(self.store) == set()


def session_of(leader: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] not in "ZX":
            found.append(int(pid))
    return sorted(found)


def fingerprint(layer: Path) -> dict[str, tuple[object, ...]]:
    """Return all that a layer's folder holds, but for its record."""
    found: dict[str, tuple[object, ...]] = {}
    for path in layer.rglob("*"):
        status = path.lstat()
        name = str(path.relative_to(layer))
        if stat.S_ISLNK(status.st_mode):
            found[name] = (status.st_mode, os.readlink(path))
        elif stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (status.st_mode, status.st_nlink, content)
        else:
            found[name] = (status.st_mode,)
    found.pop("layer.json", None)
    return found


def check(store: Path, whole: dict[str, dict[str, tuple[object, ...]]]) -> None:
    """Check that a store shows whole layers only, and images that have all of them."""
    for name in os.listdir(store / "layers"):
        assert layers.read(str(store), name) is not None
        # A settled layer's files are links of another's: how many there are depends on that one.
        assert without_links(fingerprint(store / "layers" / name)) == without_links(whole[name])
    for image in inventory.read(str(store)).images:
        for opened in images.open_layers(str(store), image.record):
            opened.close()


def without_links(found: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    return {name: (values[0], values[-1]) for name, values in found.items()}


@pytest.fixture
def pulls(request: pytest.FixtureRequest, bad_registry: BadRegistry, open_folder: Path) -> Pulls:
    """Pulls over a slow connection in the mode and to the form that the test names."""
    mode, form = request.param
    push_image(bad_registry, "killed/image:1", *LAYERS, how="none")
    bad_registry.spoil("/blobs/", Fault(trickle=1_000_000))
    image = f"{bad_registry.address}/killed/image:1"
    return Pulls(image, open_folder / "store", form, site=mode == "site")


def everybody(pids: list[int]) -> list[int]:
    return pids


def check_kills(pulls: Pulls, moments: int, *, one_too: bool) -> None:
    seed = os.environ.get("HPCBOX_TEST_SEED", "4")
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    seconds = pulls.finish()
    store = pulls.store
    whole = {name: fingerprint(store / "layers" / name) for name in os.listdir(store / "layers")}
    pulls.clear()
    for moment in range(moments):
        # Spread over the whole pull, each at random within its share.
        at = seconds * (moment + chance.random()) / moments

        def some(pids: list[int]) -> list[int]:
            return [chance.choice(pids)] if pids else []

        pulls.kill(at, some if one_too and moment % 2 else everybody)

        check(store, whole)
        pulls.finish()
        check(store, whole)
        left = collect.collect(str(store), collect.nothing, dry_run=True)
        assert (left.leftovers, left.leases) == ({}, ()), (moment, at)
        pulls.clear()


@pytest.mark.parametrize("pulls", [("user", "directory"), ("site", "index")], indirect=True)
def test_a_pull_killed_at_any_moment_leaves_whole_layers_or_none(pulls: Pulls) -> None:
    check_kills(pulls, 3, one_too=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "pulls",
    [
        ("user", "directory"),
        ("site", "directory"),
        ("site", "index"),
        ("site", "erofs"),
        ("site", "squashfs"),
    ],
    indirect=True,
)
def test_a_pull_killed_at_50_moments_leaves_whole_layers_or_none(pulls: Pulls) -> None:
    check_kills(pulls, 50, one_too=True)
