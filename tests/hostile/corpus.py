"""Layers made to leave the root, to lie about themselves, or to take what isn't theirs.

Each case is a stack of layers, bottom first; `OUTSIDE` is where they would like to write.
"""

import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field

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

OUTSIDE = "outside"
"""The name of the folder beside that of the layers: `../../outside` from a layer's root."""

OUT = f"../../{OUTSIDE}"


@dataclass(frozen=True)
class Refused:
    """A stack that is refused.

    Attributes:
        name: of the test.
        reason: a part of the message.
        layers: entries, or a whole tar.
    """

    name: str
    reason: str
    layers: tuple[Sequence[Item] | bytes, ...]

    def tars(self) -> list[bytes]:
        """Return the layers' tars."""
        return [layer if isinstance(layer, bytes) else tar(*layer) for layer in self.layers]


@dataclass(frozen=True)
class Contained:
    """A stack that is strange and allowed: it stays inside.

    Attributes:
        name: of the test.
        layers: entries.
        inside: names that the image has then, among others.
    """

    name: str
    layers: tuple[Sequence[Item], ...]
    inside: tuple[str, ...] = field(default=())

    def tars(self) -> list[bytes]:
        """Return the layers' tars."""
        return [tar(*layer) for layer in self.layers]


def one(name: str, reason: str, *items: Item) -> Refused:
    """A single layer that is refused."""
    return Refused(name, reason, (items,))


def header(name: bytes, size: bytes, kind: bytes = b"0", *, target: bytes = b"") -> bytes:
    """Return a header whose fields are what they are, with a right checksum."""
    fields = struct.pack(
        "100s8s8s8s12s12s8s1s100s6s2s247x",
        name, b"644", b"0", b"0", size, b"0", b" " * 8, kind, target, b"ustar\0", b"00",
    )  # fmt: skip
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def pax(records: bytes) -> bytes:
    """Return a PAX header with these records as they are."""
    padded = records + bytes(-len(records) % 512)
    return header(b"pax", b"%o" % len(records), b"x") + padded


TRAVERSAL = (
    one("dot dot", "'..'", file("../secret")),
    one("dot dot inside of the path", "'..'", file("a/../../secret")),
    one("dot dot that stays inside", "'..'", file("a/../b")),
    one("dot dot as a folder", "'..'", folder("..")),
    one("dot dot with slashes", "'..'", file(".//..///secret")),
    one("absolute path", "absolute", file("/etc/passwd")),
    one("absolute path with two slashes", "absolute", file("//etc/passwd")),
    one("dot dot in a PAX path", "'..'", Item("a", pax={"path": "../a"})),
    one("absolute PAX path", "absolute", Item("a", pax={"path": "/etc/passwd"})),
    one("symlink", "leads out", symlink("out", "../.."), file("out/secret")),
    one("symlink to outside", "leads out", symlink("out", OUT), file("out/secret")),
    one("symlink climbing above", "leads out", symlink("o", "/../.."), file("o/secret")),
    one(
        "symlink from a folder",
        "leads out",
        folder("a"),
        symlink("a/out", f"../{OUT}"),
        file("a/out/secret"),
    ),
    one("two symlinks", "leads out", symlink("a", "b"), symlink("b", ".."), file("a/secret")),
    one("folder through a symlink", "leads out", symlink("out", ".."), folder("out/made")),
    one("symlink through a symlink", "leads out", symlink("o", ".."), symlink("o/s", "/etc")),
    one("fifo through a symlink", "leads out", symlink("o", ".."), Item("o/p", kind=b"6")),
    one("whiteout through a symlink", "leads out", symlink("o", OUT), Item("o/.wh.secret")),
    one("opaque mark through a symlink", "leads out", symlink("o", OUT), opaque("o")),
    one("whiteout outside", "'..'", Item("../.wh.a")),
    one("symlinks in a circle", "circle", symlink("a", "b"), symlink("b", "a"), file("a/x")),
    one("symlink to itself", "circle", symlink("a", "a"), file("a/x")),
    one(
        "forty-one symlinks",
        "circle",
        folder("l41"),
        *(symlink(f"l{number}", f"l{number + 1}") for number in range(41)),
        file("l0/x"),
    ),
    one(
        "symlinks that lead in ever more steps",
        "too many",
        folder("d"),
        *(symlink(f"s{number}", f"s{number + 1}/" + "../d/" * 800) for number in range(8)),
        symlink("s8", "d"),
        file("s0/x"),
    ),
)

HARDLINKS = (
    one("hardlink with dot dot", "'..'", hardlink("x", "../secret")),
    one("absolute hardlink", "absolute", hardlink("x", "/etc/passwd")),
    one("hardlink to the root", "root", hardlink("x", "")),
    one("hardlink to the root as a dot", "root", hardlink("x", "./.")),
    one("hardlink to a folder", "folder", folder("d"), hardlink("x", "d")),
    one("hardlink through a symlink", "leads out", symlink("o", OUT), hardlink("x", "o/secret")),
    one("hardlink onto outside", "leads out", file("a"), symlink("o", OUT), hardlink("o/b", "a")),
    one("hardlink to itself", "itself", file("a"), hardlink("a", "a")),
    one("hardlink onto a folder", "folder", folder("d"), file("d/a"), hardlink("d", "d/a")),
    one("NUL in a PAX link", "NUL", Item("x", kind=b"1", pax={"linkpath": "a\0b"})),
)

WHITEOUTS = (
    one("file below a whiteout", "whiteout", file(".wh.a/b")),
    one("symlink to a whiteout", "whiteout", symlink("a", ".wh.b"), file("a/c")),
    one("opaque root", "root", Item(".wh..wh..opq")),
    one("opaque root as a dot", "root", Item("./.wh..wh..opq")),
    one("whiteout of dot", "whiteout", Item(".wh..")),
    one("whiteout of dot dot", "whiteout", Item(".wh...")),
    one("whiteout of nothing", "whiteout", Item(".wh.")),
    one("whiteout of the folder above", "whiteout", Item("a/.wh...")),
    one("opaque root through a symlink", "root", symlink("a", "."), opaque("a")),
)

NAMES = (
    one("root as a symlink", "root", symlink("./", "/tmp")),
    one("root as a file", "root", file(".")),
    one("root as a hardlink", "root", file("a"), hardlink("./", "a")),
    one("file as a parent", "no folder", file("a"), file("a/b")),
    one("fifo as a parent", "no folder", Item("a", kind=b"6"), file("a/b")),
    one("too deep", "deep", file("/".join("d" * 300))),
    one(
        "too deep through symlinks",
        "deep",
        file("/".join("d" * 256)),
        symlink("s", "/".join("d" * 255)),
        folder("s/x/"),
        symlink("t", "s/x"),
        folder("t/y"),
    ),
    one(
        "path too long through symlinks",
        "longer",
        file("/".join(["p" * 200] * 20)),
        symlink("s", "/".join(["p" * 200] * 19)),
        folder("s/" + "q" * 200),
        symlink("t", "s/" + "q" * 200),
        folder("t/" + "r" * 200),
    ),
    one("name too long", "longer", file("n" * 256)),
    one("path too long", "longer", file("/".join(["p" * 200] * 25))),
    one("NUL in a PAX path", "NUL", Item("a", pax={"path": "a\0b"})),
    one("symlink target too long", "symlink", symlink("a", "t" * 5000)),
    one("symlink target with NUL", "symlink", Item("a", kind=b"2", pax={"linkpath": "a\0b"})),
    one("symlink to nothing", "symlink", symlink("a", "")),
)

ATTRIBUTES = (
    one("NUL in an xattr", "NUL", Item("a", pax={"SCHILY.xattr.user.a\0b": "c"})),
    one("huge xattr", "attributes", Item("a", b"x", pax={"SCHILY.xattr.user.a": "v" * 200_000})),
    one(
        "many xattrs",
        "attributes",
        Item("a", pax={f"SCHILY.xattr.user.{number}": "v" * 50 for number in range(2000)}),
    ),
    one("xattr without a name", "attribute", Item("a", pax={"SCHILY.xattr.user.": "v"})),
)

BROKEN = (
    one("unknown type", "type", Item("a", kind=b"Z")),
    Refused("multi-volume type", "type", (header(b"a", b"0", b"M"),)),
    Refused("negative size", "negative", (header(b"a", b"\xff" * 12),)),
    Refused("size without bounds", "bounds", (header(b"a", b"\x80" + b"\xff" * 11),)),
    Refused("size of all the disks there are", "ends within", (header(b"a", b"7" * 11),)),
    Refused("size that is no number", "no number", (header(b"a", b"12x"),)),
    Refused(
        "size in PAX that is no number", "no number", (pax(b"11 size=-1\n") + header(b"a", b"0"),)
    ),
    Refused(
        "size in PAX without bounds",
        "bounds",
        (pax(b"28 size=9999999999999999999\n") + header(b"a", b"0"),),
    ),
    Refused("checksum wrong", "no tar", (header(b"a", b"0").replace(b"ustar", b"USTAR"),)),
    Refused(
        "headers of many megabytes", "headers", (header(b"x", b"%o" % 2**24, b"x") + bytes(2**24),)
    ),
    Refused(
        "headers without end",
        "headers",
        (b"".join(pax(b"8 a=%03d\n" % (number % 1000)) for number in range(3000)),),
    ),
    Refused(
        "a PAX record that ends before itself", "rule", (pax(b"5 a=b\n") + header(b"a", b"0"),)
    ),
    Refused(
        "a time of a megabyte",
        "no number",
        (pax(b"%d mtime=1.%s\n" % (100_016, b"0" * 100_000)) + header(b"a", b"0"),),
    ),
    Refused("no tar at all", "no tar", (b"\x7fELF" + bytes(range(256)) * 10,)),
    Refused("an entry cut off", "ends within", (header(b"a", b"%o" % 5000) + bytes(1000),)),
)


def _sparse(name: str, reason: str, content: bytes = b"", **records: str) -> Refused:
    attributes = {f"GNU.sparse.{key}": value for key, value in records.items()}
    return one(name, reason, Item("a", content, pax=attributes))


SPARSE = (
    _sparse("sparse map leaves the file", "parts", b"x" * 10, size="10", map="5,10"),
    _sparse("sparse parts overlap", "parts", b"x" * 10, size="20", map="0,5,3,5"),
    _sparse("sparse parts go back", "parts", b"x" * 10, size="20", map="10,5,0,5"),
    _sparse("sparse map of more than is there", "sparse", b"x" * 4, size="20", map="0,10"),
    _sparse("sparse map with half a part", "part", b"x", size="20", map="0"),
    _sparse("sparse map of words", "no number", b"x", size="20", map="a,b"),
    _sparse("negative sparse size", "no number", b"x", size="-1", map="0,1"),
    _sparse("sparse of an unknown form", "unknown form", b"x", major="7", minor="1"),
    _sparse("sparse without a map", "", b"x" * 512, major="1", minor="0", realsize="10"),
    _sparse(
        "sparse map that lies about its parts",
        "",
        b"99999999999\n0\n1\n".ljust(512, b"\0") + b"x",
        major="1",
        minor="0",
        realsize="10",
    ),
    _sparse("sparse file of all the disks there are", "larger", size=str(2**62), map=f"{2**62},0"),
)

WITH_HELP = (
    one("hardlink to nothing", "no layer has", hardlink("x", "nothing")),
    one("hardlinks in a circle", "no layer has", hardlink("x", "y"), hardlink("y", "x")),
    Refused("relative symlink below", "leads out", ([symlink("esc", OUT)], [file("esc/secret")])),
    Refused(
        "absolute symlink below", "no folder", ([symlink("esc", "/outside")], [file("esc/secret")])
    ),
    Refused("circle below", "circle", ([symlink("esc", "esc")], [file("esc/secret")])),
    Refused(
        "hardlink through a symlink below",
        "leads out",
        ([symlink("esc", OUT)], [hardlink("x", "esc/secret")]),
    ),
    Refused(
        "whiteout through a symlink below",
        "leads out",
        ([symlink("esc", OUT)], [whiteout("esc/secret")]),
    ),
    Refused(
        "opaque through a symlink below", "leads out", ([symlink("esc", OUT)], [opaque("esc")])
    ),
    Refused("opaque root by a symlink below", "root", ([symlink("a", ".")], [opaque("a")])),
    Refused(
        "own symlink to nowhere",
        "no such folder",
        ([folder("etc")], [symlink("esc", "/outside"), file("esc/secret")]),
    ),
    Refused(
        "hardlink to nothing below", "no layer has", ([folder("etc")], [hardlink("x", "etc/a")])
    ),
    Refused(
        "hardlink to a folder below", "no layer has", ([folder("etc")], [hardlink("x", "etc")])
    ),
    Refused(
        "two layers, one way out",
        "leads out",
        ([folder("a"), symlink("a/b", "../..")], [symlink("c", "a/b/..")], [file("c/secret")]),
    ),
)
"""What depends on the layers below: what one layer prepares and another uses."""

REFUSED = (*TRAVERSAL, *HARDLINKS, *WHITEOUTS, *NAMES, *ATTRIBUTES, *BROKEN, *SPARSE)

_THOUSAND = range(1000)

CONTAINED = (
    Contained(
        "symlinks out that nobody follows",
        ([symlink("out", "../../etc"), symlink("abs", "/etc/passwd"), symlink("self", "self")],),
        ("out", "abs", "self"),
    ),
    Contained(
        "a file in the place of a symlink to outside",
        ([symlink("x", f"{OUT}/secret"), file("x", b"overwritten")],),
        ("x",),
    ),
    Contained(
        "a file over a symlink of the layer below",
        ([symlink("x", f"{OUT}/secret")], [file("x", b"overwritten")]),
        ("x",),
    ),
    Contained(
        "a whiteout of a symlink to outside",
        ([symlink("x", f"{OUT}/secret"), file("y")], [whiteout("x"), file("z")]),
        ("y", "z"),
    ),
    Contained(
        "an opaque folder over a symlink to outside",
        ([symlink("x", OUT), file("y")], [folder("x"), opaque("x")]),
        ("x", "y"),
    ),
    Contained(
        "an absolute symlink leads within",
        ([folder("etc"), symlink("esc", "/etc"), file("esc/inside")],),
        ("etc", "etc/inside"),
    ),
    Contained(
        "devices are left out",
        ([Item("mem", kind=tarfile.CHRTYPE), Item("sda", kind=tarfile.BLKTYPE), file("x")],),
        ("x",),
    ),
    Contained(
        "the same file a thousand times",
        ([file("a", b"%d" % number) for number in _THOUSAND],),
        ("a",),
    ),
    Contained(
        "one name with ever other types",
        (
            [
                item
                for _ in range(200)
                for item in (file("a"), folder("a"), file("a/b"), symlink("a", ".."), file("a"))
            ],
        ),
        ("a",),
    ),
    Contained(
        "whiteouts in other cases are files",
        ([file("a"), file("B")], [file(".WH.a"), file(".Wh.B"), file("wh.a")]),
        (".WH.a", ".Wh.B", "wh.a", "a", "B"),
    ),
    Contained(
        "metadata of AUFS are nothing",
        ([Item(".wh..wh.aufs"), folder(".wh..wh.plnk"), file(".wh..wh.plnk/1"), file("x")],),
        ("x",),
    ),
    Contained(
        "names that would move a terminal",
        ([file("\x1b[2Jcleared"), file("new\nline"), file("\x07\x08"), file("caf\udce9")],),
        ("\x1b[2Jcleared", "new\nline"),
    ),
    Contained(
        "names that look like options", ([file("-rf"), file("--help"), file("$(id)")],), ("-rf",)
    ),
    Contained("a deep path", ([file("/".join("d" * 255))],), ("d",)),
    Contained(
        "forty symlinks",
        (
            [
                folder("l40"),
                *(symlink(f"l{number}", f"l{number + 1}") for number in range(40)),
                file("l0/x"),
            ],
        ),
        ("l40/x",),
    ),
    Contained("a whiteout a thousand times", ([file("a")], [whiteout("a") for _ in _THOUSAND]), ()),
)
