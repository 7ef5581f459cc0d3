"""Whatever a tar holds, a folder and an image of it show the same, or both refuse it alike."""

import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpcbox.errors import LayerRejected
from hpcbox.rootfs.layer_image import ErofsSink, IndexSink
from hpcbox.rootfs.unpack import DirectorySink
from hpcbox.store.sink import Needs, Unpacked
from tests.rootfs.images import Seen, Unpacks, made_and_seen, seen
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

TIMES = (-5, 0, 1_600_000_000, 1_700_000_000, 2**34)

part = st.sampled_from(["a", "b", "c", "!"])
path = st.lists(part, min_size=1, max_size=4).map("/".join)
odd_path = (
    path
    | path
    | path
    | st.sampled_from([".", "./", "./a/b", "a/./b", "a//b/", "a/b/.", "..", "/a", "a/.."])
)
target = path | st.sampled_from(["..", "/", "/a", "/a/b", "../b", "../../c", ".", "a/.."])
mode = st.sampled_from([0o644, 0o4755, 0o2750, 0o1777, 0])
attributes = st.dictionaries(
    st.sampled_from(
        ["SCHILY.xattr.user.x", "SCHILY.xattr.user.overlay.opaque", "SCHILY.xattr.trusted.y"]
    ),
    st.sampled_from(["", "y", "long" * 50]),
    max_size=2,
)
entry = st.one_of(
    st.builds(
        Item,
        odd_path,
        st.sampled_from([b"", b"x", b"y" * 600]),
        mode=mode,
        pax=attributes,
        mtime=st.sampled_from(TIMES),
    ),
    st.builds(
        Item,
        odd_path,
        kind=st.just(tarfile.DIRTYPE),
        mode=mode,
        pax=attributes,
        mtime=st.sampled_from(TIMES),
    ),
    st.builds(symlink, path, target),
    st.builds(hardlink, path, odd_path),
    st.builds(whiteout, odd_path),
    st.builds(opaque, odd_path),
    st.builds(Item, path, kind=st.sampled_from([tarfile.FIFOTYPE, tarfile.CHRTYPE]), mode=mode),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(entry, max_size=14), st.sampled_from([IndexSink(), ErofsSink()]))
@example([whiteout("a"), file("a/b"), folder("a"), opaque("a")], IndexSink())
@example([file("a"), hardlink("b", "a"), folder("c"), hardlink("c/d", "b"), file("c")], IndexSink())
@example([symlink("a", "b"), file("a/x"), folder("a"), file("a/y")], IndexSink())
@example([hardlink("a", "low"), hardlink("b", "a"), folder("a"), hardlink("c", "a/x")], IndexSink())
def test_a_folder_and_an_image_show_the_same(items: list[Item], sink: Unpacks) -> None:
    layer = tar(*items)
    with TemporaryDirectory() as scratch:
        expected = _outcome(lambda: _in_folder(layer, Path(scratch)))

        assert _outcome(lambda: made_and_seen(sink, layer, Path(scratch))) == expected


def _outcome(make: Callable[[], tuple[Unpacked, dict[str, Seen]]]) -> object:
    try:
        unpacked, found = make()
    except LayerRejected as refusal:
        return str(refusal)
    return unpacked.entries, _sorted(unpacked.needs), _timed(found)


def _in_folder(layer: bytes, scratch: Path) -> tuple[Unpacked, dict[str, Seen]]:
    with TemporaryDirectory(dir=scratch) as made:
        unpacked = DirectorySink().unpack(Bytes(layer), made, budget())
        return unpacked, seen(Path(made) / "fs")


def _timed(found: dict[str, Seen]) -> dict[str, Seen]:
    """Leave out times that no entry says: those of implied folders and whiteouts."""
    return {
        name: one
        if one.kind != stat.S_IFCHR and one.mtime_ns in {time * 10**9 for time in TIMES[2:]}
        else one._replace(mtime_ns=None)
        for name, one in found.items()
    }


def _sorted(needs: Needs) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    return sorted(needs.folders), sorted(needs.linked_folders), sorted(needs.links)
