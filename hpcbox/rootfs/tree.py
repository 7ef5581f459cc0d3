"""A layer as a tree of nodes in memory: what a file system image of it is written from.

Bytes of files are not here, but where they lie. A node has as many names as hardlinks in its layer.
"""

import stat

FILE, FOLDER, SYMLINK, FIFO = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO
WHITEOUT = stat.S_IFCHR
"""A character device 0:0 on disk, overlayfs's form; layers hold no other devices."""

TAR, EXTRA = 1, 2
"""Places of content: the layer's tar (data.1), and what isn't in it in one piece (data.2)."""


class Node:
    """A file, folder, symlink, fifo or whiteout.

    Attributes:
        kind: FILE, FOLDER, SYMLINK, FIFO or WHITEOUT.
        mode: permission bits, 0 to 0o7777, after the site's policy.
        mtime_ns: nanoseconds since 1970.
        size_bytes: of a file's content.
        place: of a file's content: TAR, EXTRA, or 0 in a file system that holds it itself.
        offset: where the content begins there, in bytes.
        target: of a symlink, else b"".
        xattrs: extended attributes by name, or None.
        children: of a folder, by name, else None.
        names: how many names the node has.
        is_opaque: a folder that hides all of its name in the layers below.
    """

    __slots__ = (
        "children",
        "is_opaque",
        "kind",
        "mode",
        "mtime_ns",
        "names",
        "offset",
        "place",
        "size_bytes",
        "target",
        "xattrs",
    )

    def __init__(self, kind: int, mode: int, mtime_ns: int) -> None:
        self.kind = kind
        self.mode = mode
        self.mtime_ns = mtime_ns
        self.size_bytes = 0
        self.place = TAR
        self.offset = 0
        self.target = b""
        self.xattrs: dict[bytes, bytes] | None = None
        self.children: dict[bytes, Node] | None = {} if kind == FOLDER else None
        self.names = 1
        self.is_opaque = False
