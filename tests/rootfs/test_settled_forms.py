"""Whatever form layers have, and however forms are mixed, the kernel shows the same root."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcbox.errors import LayerRejected
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.squashfs_sink import SquashfsSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.sink import LayerSink, Needs
from tests.rootfs.images import Seen, seen
from tests.rootfs.mounted import with_root
from tests.rootfs.unpacking import Bytes, budget
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    tar,
    whiteout,
)

SINKS: dict[str, LayerSink] = {
    "directory": DirectorySink(),
    "index": IndexSink(),
    "erofs": ErofsSink(),
    "squashfs": SquashfsSink(),
}

Layers = Sequence[Sequence[Item]]


def made(root: Path, layers: Layers, sinks: Sequence[LayerSink]) -> list[Path]:
    """Make layers (bottom first), each by a sink of its own, as a pull does."""
    found: list[Path] = []
    for number, (items, sink) in enumerate(zip(layers, sinks, strict=True)):
        layer = root / str(number)
        layer.mkdir()
        needs = sink.unpack(Bytes(tar(*items)), str(layer), budget()).needs
        opened = [os.open(path, os.O_RDONLY) for path in [*found, layer]]
        try:
            if needs != Needs() and not sink.fits(needs, opened[:-1]):
                layer = root / f"{number}-settled"
                layer.mkdir()
                sink.settle(needs, opened[-1], opened[:-1], str(layer))
        finally:
            for descriptor in opened:
                os.close(descriptor)
        found.append(layer)
    return found


def shown(layers: Layers, sinks: Sequence[LayerSink]) -> dict[str, tuple[Seen, str]] | str:
    """Return what the kernel shows of the layers, or that they are refused.

    Each path has what is there, and the first path of the same file.
    """
    with TemporaryDirectory() as scratch:
        try:
            forms = made(Path(scratch), layers, sinks)
        except LayerRejected:
            # Of two entries that can't be, either may be named.
            return "refused"
        return with_root(forms, looked_at)


def looked_at(root: Path) -> dict[str, tuple[Seen, str]]:
    """Look at all that is below a folder; see `shown`."""
    firsts: dict[tuple[int, int], str] = {}
    found = {}
    for path, one in sorted(seen(root).items()):
        status = os.lstat(root / path)
        first = firsts.setdefault((status.st_dev, status.st_ino), path)
        # Folders have as many names as their file system cares to count, and a time only where an
        # entry has set it; a folder on disk has more names of a file than the image has.
        is_folder = stat.S_ISDIR(status.st_mode)
        found[path] = one._replace(names=1, mtime_ns=None if is_folder else one.mtime_ns), first
    return found


LEANING: dict[str, Layers] = {
    "usr-merge": [
        [folder("usr"), folder("usr/bin"), file("usr/bin/sh"), symlink("bin", "usr/bin")],
        [file("bin/tool", b"tool"), folder("bin/deep"), file("bin/deep/file")],
    ],
    "modes of folders below": [
        [folder("tmp", 0o1777), folder("srv", 0o700)],
        [file("tmp/new"), file("srv/new/er")],
    ],
    "hardlinks to files below": [
        [folder("a", 0o711), file("a/one", b"one" * 5000, 0o640), symlink("a/two", "one")],
        [hardlink("b/one", "a/one"), hardlink("b/again", "a/one"), hardlink("two", "a/two")],
    ],
    "hardlink through a moved folder": [
        [folder("usr"), symlink("lib", "usr"), file("usr/old", b"old")],
        [file("lib/new", b"new"), hardlink("lib/older", "usr/old")],
    ],
    "hardlinks to a file of the middle": [
        [file("f", b"below")],
        [whiteout("f"), folder("d"), file("d/f", b"middle")],
        [hardlink("g", "d/f")],
    ],
    "opaque below a symlink": [
        [folder("usr"), folder("usr/x"), file("usr/x/old"), symlink("bin", "usr")],
        [opaque("bin/x"), file("bin/x/new")],
    ],
    "an attribute on a file below": [
        [Item("f", b"f", pax={"SCHILY.xattr.user.kept": "kept"})],
        [hardlink("g", "f")],
    ],
}


@pytest.mark.parametrize("layers", LEANING.values(), ids=LEANING)
@pytest.mark.parametrize("lower", SINKS)
@pytest.mark.parametrize("upper", SINKS)
def test_a_layer_that_leans_on_others_is_the_same_in_each_form(
    layers: Layers, lower: str, upper: str
) -> None:
    sinks = [*[SINKS[lower]] * (len(layers) - 1), SINKS[upper]]

    expected = shown(layers, [SINKS["directory"]] * len(layers))
    found = shown(layers, sinks)

    assert isinstance(expected, dict)
    assert found == expected


def test_hardlinks_to_a_file_below_are_one_file() -> None:
    layers = LEANING["hardlinks to files below"]

    for upper in SINKS.values():
        for lower in SINKS.values():
            found = shown(layers, [lower, upper])
            assert isinstance(found, dict)
            assert {found[path][1] for path in ("a/one", "b/one", "b/again")} == {"a/one"}
            assert found["b/one"][0].content == b"one" * 5000


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from([0o755, 0o700, 0o1777, 0o555])
ITEMS = st.one_of(
    st.builds(file, PATHS, st.binary(max_size=3), st.sampled_from([0o644, 0o600])),
    st.builds(folder, PATHS, MODES),
    st.builds(symlink, PATHS, st.sampled_from(["a", "b", "/c", "../a", "a/b", "/"])),
    st.builds(hardlink, PATHS, PATHS),
    st.builds(whiteout, PATHS),
    st.builds(opaque, PATHS),
)
STACKS = st.lists(st.lists(ITEMS, max_size=6), min_size=2, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stack=STACKS, forms=st.lists(st.sampled_from(sorted(SINKS)), min_size=3, max_size=3))
def test_random_stacks_are_the_same_in_each_form(stack: list[list[Item]], forms: list[str]) -> None:
    sinks = [SINKS[form] for form in forms[: len(stack)]]

    assert shown(stack, sinks) == shown(stack, [SINKS["directory"]] * len(stack))
