"""This checkout of hpcbox as an administrator would have installed it: at /opt/hpcbox, with shim.

Made with /usr/bin/python3, as the Python in PATH may lie in a folder that only root can enter. All
of it stays in the cache: dependencies per list of dependencies, tree and shim per content.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.commands import require, run
from tests.services.failure import LabError
from tests.services.spec import CONF, REPOSITORY, LabSpec, cache_root, state_root

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "/usr/bin/python3"
SEEN_AT = "/opt/hpcbox"
# Raise it when the way of installing changes.
FORMAT = 1
TREES_KEPT = 4
PACKAGES = {"make": "make", "gcc": "gcc"}


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed hpcbox.

    Attributes:
        tree: to be shown at /opt/hpcbox.
        settings: the site's compiled settings, for /etc/hpcbox/settings.json.
    """

    tree: Path
    settings: Path


def ensure() -> Installation:
    """Install this checkout unless the cache has exactly it.

    Raises:
        LabError: pip or the site's settings fail.
    """
    with _locked():
        key = _key(
            FORMAT,
            _digest(REPOSITORY / "hpcbox"),
            _digest(REPOSITORY / "tui"),
            (REPOSITORY / "pyproject.toml").read_bytes(),
            (CONF / "hpcbox.toml").read_bytes(),
        )
        folder = cache_root() / "installations" / key
        if not folder.exists():
            _install(folder)
            _forget_old(folder.parent)
        # Marks it as used lately.
        os.utime(folder)
        return Installation(folder / "tree", folder / "settings.json")


def ensure_shim() -> Path:
    """Build the Slurm plugin unless the cache has it; returns hpcbox.so.

    Raises:
        LabError: make fails.
    """
    require(PACKAGES)
    with _locked():
        source = REPOSITORY / "spank"
        if not (source / "Makefile").exists():
            raise LabError("this checkout has no spank/Makefile — use --no-plugin")
        slurm = run(["slurmd", "-V"])
        folder = cache_root() / "shims" / _key(FORMAT, _digest(source), slurm)
        shim = folder / "hpcbox.so"
        if not shim.exists():
            print("lab: building hpcbox's Slurm plugin", file=sys.stderr)
            growing = folder.with_suffix(".new")
            shutil.rmtree(growing, ignore_errors=True)
            run(["make", "-s", "-j", str(os.cpu_count() or 1), "-C", os.fspath(source), "all",
                 f"BUILD={growing}"])  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)
            (growing / "hpcbox.so").rename(shim)
            shutil.rmtree(growing)
        return shim


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    cache_root().mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(cache_root() / "install.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _digest(folder: Path) -> str:
    """Changes with the name or content of any source file below folder."""
    digest = hashlib.sha256()
    for place, names, files in os.walk(folder):
        names[:] = sorted(set(names) - {"__pycache__", "build"})
        for name in sorted(files):
            path = Path(place, name)
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _dependencies() -> Path:
    """A virtual environment with what hpcbox needs, and with what builds it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    folder = (
        cache_root() / "environments" / _key(FORMAT, sorted(needed), run([PYTHON, "--version"]))
    )
    if not folder.exists():
        print("lab: installing hpcbox's dependencies (once)", file=sys.stderr)
        growing = folder.with_suffix(".new")
        shutil.rmtree(growing, ignore_errors=True)
        run([PYTHON, "-m", "venv", os.fspath(growing)])
        run([os.fspath(growing / "bin/python"), "-m", "pip", "install", "--quiet", *needed])
        _compile(growing)
        growing.rename(folder)
    return folder


def _compile(tree: Path) -> None:
    """Write the .pyc files, with the paths as the lab will see them in tracebacks."""
    run([PYTHON, "-m", "compileall", "-q", "-s", os.fspath(tree), "-p", SEEN_AT,
         os.fspath(tree / "lib")])  # fmt: skip


def _install(folder: Path) -> None:
    print("lab: installing this checkout of hpcbox", file=sys.stderr)
    growing = folder.with_suffix(".new")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(parents=True)
    tree = growing / "tree"
    # Hard links: pip replaces files, it never writes into them.
    run(["cp", "-al", os.fspath(_dependencies()), os.fspath(tree)])
    python = os.fspath(tree / "bin/python")
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-compile", "--disable-pip-version-check", os.fspath(REPOSITORY)])  # fmt: skip
    _compile(tree)
    _point_scripts(tree)
    run([python, "-I", "-m", "hpcbox", "settings", "--compile", os.fspath(CONF / "hpcbox.toml"),
         "--output", os.fspath(growing / "settings.json")])  # fmt: skip
    # The settings are the site's to read, not root's secret.
    (growing / "settings.json").chmod(0o644)
    growing.rename(folder)


def _point_scripts(tree: Path) -> None:
    """Make the commands name the interpreter by the path that the lab has for it."""
    for script in (tree / "bin").iterdir():
        content = b"" if script.is_symlink() else script.read_bytes()
        line, _, rest = content.partition(b"\n")
        if line.startswith(b"#!") and line.endswith((b"/python", b"/python3", b"/python3.11")):
            script.unlink()
            script.write_bytes(f"#!{SEEN_AT}/bin/python3\n".encode() + rest)
            script.chmod(0o755)


def _forget_old(folder: Path) -> None:
    """Remove all but the installations used last and those that a lab shows."""
    used = set()
    for note in state_root().glob("*/spec.json"):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            used.add(LabSpec.from_json(note.read_text(encoding="utf-8")).installation)
    trees = sorted(folder.iterdir(), key=lambda tree: tree.stat().st_mtime, reverse=True)
    for old in trees[TREES_KEPT:]:
        if old / "tree" not in used:
            shutil.rmtree(old, ignore_errors=True)
