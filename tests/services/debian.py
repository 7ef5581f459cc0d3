"""Minimal roots of Debian as folders, and packages on top: the raw material of the images."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services import layers
from tests.services.commands import run
from tests.services.spec import CONF, cache_root

if TYPE_CHECKING:
    import tarfile

# This machine's release, and the one after it.
SUITE, NEXT_SUITE = "bookworm", "trixie"
PYTHON = {SUITE: "3.11", NEXT_SUITE: "3.13"}
PACKAGES = {"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg"}
# A test image needs no manuals; dpkg keeps to this for packages added later, too.
UNPACK_NOT = ("doc", "man", "info", "locale", "lintian", "bug", "zoneinfo")
# UCX there depends on AMD's compiler, which nothing but a benchmark for GPUs loads: 240 MB.
UNPACK_NOT_NEXT = tuple(
    f"/usr/lib/*/{name}*" for name in ("libLLVM", "libamd_comgr", "libamdhip64", "libz3")
)
DEFAULT_SOURCES = (
    "deb http://deb.debian.org/debian bookworm main\n"
    "deb http://deb.debian.org/debian-security bookworm-security main\n"
)


def key(suite: str = SUITE, included: tuple[str, ...] = ()) -> str:
    """Names what root() contains (but for Debian's own updates)."""
    parts: tuple[object, ...] = (suite, UNPACK_NOT, layers.LEFT_OUT, platform.machine())
    if suite == NEXT_SUITE:
        parts = (*parts, UNPACK_NOT_NEXT)
    if included:
        parts = (*parts, included)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def sources(suite: str = SUITE) -> str:
    """The mirrors that this machine itself uses, else Debian's own; sources.list(5)."""
    listing = run([
        "apt-get", "indextargets", "--format", "$(ORIGIN) $(COMPONENT) $(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ])  # fmt: skip
    lines = []
    for line in sorted(set(listing.splitlines())):
        origin, component, release, mirror = line.split(" ", 3)
        if (origin, component) == ("Debian", "main") and release.startswith(SUITE):
            lines.append(f"deb {mirror} {release} main\n")
    return ("".join(lines) or DEFAULT_SOURCES).replace(SUITE, suite)


def root(suite: str = SUITE, included: tuple[str, ...] = ()) -> Path:
    """The minimal root, made once, with apt's lists so that packages can be added.

    Args:
        suite: Debian's release.
        included: packages beyond the minimal ones.

    Raises:
        LabError: mmdebstrap fails (no network, no space).
    """
    folder = cache_root() / "roots" / key(suite, included)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make_root(folder, suite, included)
    return folder


def _make_root(folder: Path, suite: str, included: tuple[str, ...]) -> None:
    growing = folder.with_suffix(".new")
    shutil.rmtree(growing, ignore_errors=True)
    left_out = [f"/usr/share/{name}/*" for name in UNPACK_NOT]
    left_out += UNPACK_NOT_NEXT if suite == NEXT_SUITE else ()
    run([
        "mmdebstrap", "--quiet", "--variant=minbase", "--skip=cleanup/apt/lists",
        *(f"--dpkgopt=path-exclude={path}" for path in left_out),
        *(f"--include={name}" for name in included),
        suite, os.fspath(growing), "-",
    ], stdin_text=sources(suite))  # fmt: skip
    growing.rename(folder)


def add_packages(suite: str, packages: tuple[str, ...], tar: tarfile.TarFile) -> None:
    """Add to a layer what installing packages changes in the minimal root.

    Raises:
        LabError: apt fails.
    """
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        folders = [Path(scratch, name) for name in ("upper", "work", "root")]
        for folder in folders:
            folder.mkdir()
        run(["unshare", "--mount", "--pid", "--fork", "--kill-child",
             os.fspath(CONF / "add_packages.sh"), os.fspath(root(suite)),
             *map(os.fspath, folders), *packages])  # fmt: skip
        layers.add_tree(tar, folders[0])


def unpack(suite: str, packages: tuple[str, ...], folder: Path) -> None:
    """Unpack packages of a suite into a folder, without what they depend on.

    Raises:
        LabError: apt fails.
    """
    base = os.fspath(root(suite))
    with tempfile.TemporaryDirectory(dir=cache_root()) as scratch:
        run(["apt-get", "--quiet=2", "-o", f"Dir={base}/", "-o",
             f"Dir::State::status={base}/var/lib/dpkg/status", "-o", "Dir::Cache::pkgcache=", "-o",
             "Dir::Cache::srcpkgcache=", "-o", "APT::Sandbox::User=root", "download", *packages],
            cwd=Path(scratch))  # fmt: skip
        for package in sorted(Path(scratch).iterdir()):
            run(["dpkg-deb", "--extract", os.fspath(package), os.fspath(folder)])
