"""Tars: refused, or a tree that no name leaves and no number leads astray.

Checksums are mended before a tar is read, else hardly any would get past its first header.
"""

import random
import tarfile
from collections.abc import Sequence
from typing import cast

from target import Target, promise

from hpcbox.errors import BlobInvalid, ImageTooLarge, LayerRejected
from hpcbox.rootfs import tar, tar_fields
from hpcbox.rootfs.layer_image import grown
from hpcbox.rootfs.tree import FILE, FOLDER, SYMLINK, Node
from hpcbox.store.sink import Budget
from tests.hostile import corpus
from tests.rootfs.unpacking import Bytes
from tests.services import small_images
from tests.services.small_images import Item

_BLOCK = 512
_MAP = "GNU.sparse.map"
_SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
_MAXIMUM_BYTES, _MAXIMUM_ENTRIES = 2**22, 2000


def _seeds() -> Sequence[bytes]:
    cases = (*corpus.REFUSED, *corpus.CONTAINED, *corpus.WITH_HELP)
    tars = [content for case in cases for content in case.tars()]
    tars += [
        small_images.tar(Item("a", b"x", pax={"SCHILY.xattr.user.a": "b", "mtime": "1.5"})),
        small_images.tar(Item("a" * 150, target="b" * 150, kind=b"2"), form=tarfile.GNU_FORMAT),
        small_images.tar(Item("a", b"0\n", pax={**_SPARSE, "GNU.sparse.realsize": "9"})),
        small_images.tar(Item("a", b"x" * 7, pax={"GNU.sparse.size": "9", _MAP: "0,5,6,2"})),
        _old_sparse(),
    ]
    return [b"\1" + content.rstrip(b"\0") for content in tars if len(content) <= 2**16]


def _old_sparse() -> bytes:
    """A file in GNU tar's old form: five bytes, a hole of one, two bytes."""
    head = bytearray(corpus.header(b"a", b"7", b"S"))
    for at, number in ((386, 0), (398, 5), (410, 6), (422, 2), (483, 9)):
        head[at : at + 12] = b"%011o\0" % number
    return bytes(head) + b"x" * 512


def _check(data: bytes) -> None:
    content = mended(data[1:]) if data[:1] > b"\0" else data[1:]
    budget = Budget(_MAXIMUM_BYTES, _MAXIMUM_ENTRIES)

    def place(node: Node, entry: tar.Entry, reader: tar.TarReader) -> None:
        promise(entry.size_bytes >= 0, "a size is negative")
        size = end = 0
        for offset, piece in reader.content():
            promise(offset >= end, "content goes back")
            size, end = size + len(piece), offset + len(piece)
            budget.spend_bytes(len(piece))
        promise(end <= node.size_bytes, "content leaves the file")
        whole = node.size_bytes if entry.segments is None else size
        promise(size == whole, f"content of {size} bytes, not {whole}")

    try:
        tree, entries = grown(tar.TarReader(tar.pieces_of(Bytes(content, 700))), budget, place)
    except (BlobInvalid, LayerRejected, ImageTooLarge) as error:
        promise(str(error).isprintable(), "a message moves the terminal")
        promise(len(str(error)) <= 600, "a message is longer than 600 characters")
        return
    promise(entries <= _MAXIMUM_ENTRIES, "more entries than allowed")
    check_tree(tree.root)
    for path in tree.needs().folders:
        promise(".." not in path.split("/") and not path.startswith("/"), f"{path!r} leads out")


# Offset and length of what a header says.
_FIELDS = (
    (0, 100), (100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (157, 100), (257, 6), (345, 155),
    (386, 12), (398, 12), (483, 12), (482, 1),
)  # fmt: skip
_VALUES = (
    b"", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\x80" + bytes(11), b"7" * 11, b"0", b"1", b"-1",
    b"0" * 5 + b"1000\0", b"a", b"..", b"../a", b"/a", b"a/b", b".wh.a", b".wh..wh..opq", b"./",
    b"a/", b"b", b"2", b"3", b"5", b"6", b"S", b"x", b"g", b"L", b"K", b"ustar\0", b"ustar  \0",
)  # fmt: skip


def _mutate(data: bytes, longest: int, seed: int) -> bytes:
    """Change a field of a header, repeat an entry or leave one out, or let libFuzzer do it."""
    import atheris  # noqa: PLC0415 - the targets are tests, too, where it may be missing

    chance = random.Random(seed)  # noqa: S311 - the same seed has to give the same input
    choice = chance.randrange(8)
    if choice == 0 or len(data) <= _BLOCK:
        return bytes(atheris.Mutate(data, longest))
    blocks = max((len(data) - 1) // _BLOCK, 1)
    at = 1 + _BLOCK * chance.randrange(blocks)
    made = bytearray(data)
    if choice == 1:
        made[at:at] = made[at : at + _BLOCK * chance.randrange(1, 3)]
    elif choice == 2:
        del made[at : at + _BLOCK * chance.randrange(1, 3)]
    else:
        offset, size = chance.choice(_FIELDS)
        value = chance.choice(_VALUES)
        if chance.randrange(4) == 0:
            value = bytes(atheris.Mutate(bytes(made[at + offset : at + offset + size]), size))
        made[at + offset : at + offset + size] = value[:size].ljust(size, b"\0")
    return bytes(made[:longest])


def mended(content: bytes) -> bytes:
    """Return a tar in which every header that is met has a right checksum."""
    made = bytearray(content)
    at = 0
    while at + _BLOCK <= len(made):
        head = made[at : at + _BLOCK]
        if any(head):
            head[148:156] = b" " * 8
            made[at + 148 : at + 156] = b"%06o\0 " % sum(head)
        try:
            size = tar_fields.number(bytes(head[124:136]), negative=True)
        except BlobInvalid:
            size = 0
        if head[156:157] in b"123456" or not 0 <= size <= len(made):
            size = 0
        at += _BLOCK + size + -size % _BLOCK
    return bytes(made)


def check_tree(root: Node) -> None:
    """Check that a tree is one that a file system can hold."""
    left = [root]
    while left:
        node = left.pop()
        promise(0 <= node.mode <= 0o7777, "a mode has other bits")
        promise(node.kind != FILE or not node.mode & 0o6000, "a file is setuid")
        promise(node.kind != SYMLINK or 0 < len(node.target) <= 4095, "a symlink leads nowhere")
        promise(node.size_bytes >= 0, "a size is negative")
        if node.kind != FOLDER:
            continue
        for name, child in cast("dict[bytes, Node]", node.children).items():
            promise(name not in (b"", b".", b".."), f"a file is called {name!r}")
            promise(not {0, 47} & set(name), f"{name!r} holds a slash or NUL")
            promise(len(name) <= 255, "a name is longer than Linux allows")
            promise(not name.startswith(b".wh."), "a whiteout became a file")
            left.append(child)


def _plant() -> str:
    honest = tar_fields.number

    def trusting(field: bytes, *, negative: bool = False) -> int:
        return honest(field, negative=negative or field[0] == 0xFF)

    tar_fields.number = trusting
    return "numbers in tar headers may be negative"


TARGET = Target(
    (
        "hpcbox.rootfs.tar",
        "hpcbox.rootfs.tar_fields",
        "hpcbox.rootfs.sparse",
        "hpcbox.rootfs.growing",
        "hpcbox.rootfs.policy",
    ),
    _seeds,
    _check,
    _plant,
    longest_bytes=2**14,
    mutate=_mutate,
)
