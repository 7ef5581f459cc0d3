"""What the tests of the store share: pulls in this process, and pulls as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hpcbox.image.progress import Progress
from hpcbox.image.reference import parse
from hpcbox.rootfs.sources import source_of
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.settings import Settings
from hpcbox.store.images import ImageRecord
from hpcbox.store.pull import Limits, pull

LIMITS = Limits(maximum_bytes=2**34, maximum_entries=10**6, threads=3)


def settings(store: Path, *, stall_seconds: float = 30.0, timeout_seconds: float = 5.0) -> Settings:
    """Settings of a test; the store is made by the pull."""
    return Settings(store=str(store), stall_seconds=stall_seconds, timeout_seconds=timeout_seconds)


def pull_here(
    image: str,
    store: Path,
    *,
    limits: Limits = LIMITS,
    grant_to: int | None = None,
    stall_seconds: float = 30.0,
    seen: list[Progress] | None = None,
) -> ImageRecord:
    """Pull in this process."""
    made = settings(store, stall_seconds=stall_seconds)
    source = source_of(parse(image), made)
    report = seen.append if seen is not None else _ignore
    return pull(source, made.store, DirectorySink(), limits, report, grant_to=grant_to)


def _ignore(_progress: Progress) -> None:
    return


def hpcbox(*words: str, store: Path, **environment: str) -> subprocess.Popen[str]:
    """Start `hpcbox` as a user would."""
    return subprocess.Popen(
        [sys.executable, "-m", "hpcbox", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "HPCBOX_STORE": str(store),
            **environment,
        },
    )


def pull_as(user: int, service: int, image: str, store: Path, stall: float = 30) -> dict[str, Any]:
    """Pull as two accounts, as on a node; return what tests/services/relayed_pull.py says."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.services.relayed_pull"]
        + [str(store), str(service), str(user), image, str(stall)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def finish(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    """Wait for its end; return (exit code, stdout, stderr)."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def visible(store: Path) -> set[str]:
    """Return the layers and images that the store shows."""
    return {
        f"{kind}/{name}"
        for kind in ("layers", "images")
        if (store / kind).is_dir()
        for name in os.listdir(store / kind)
    }


def scratch(store: Path) -> list[str]:
    """Return the scratch folders that are there."""
    return os.listdir(store / "tmp") if (store / "tmp").is_dir() else []
