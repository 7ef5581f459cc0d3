"""An image with all that OCI layers may hold, in the forms that unpackers get wrong.

The layers are meant as they stand: every unpacker that keeps the specification makes the same tree
of them, apart from owners and from what `POLICY` names.
"""

import tarfile

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

SETUID = ("usr/bin/su", "usr/bin/wall")
"""Files with setuid or setgid bits, which hpcbox drops."""

DEVICES = ("dev/console", "dev/sda")
"""Devices, which hpcbox leaves out."""

LONG = "/".join(["long-" + "n" * 190] * 4)
DEEP = "/".join(f"d{number}" for number in range(100))
SPARSE_BYTES = 8 * 2**20


def layers() -> list[bytes]:
    """Return the layers' tars, bottom first."""
    return [tar(*_base()), tar(*_changes()), tar(*_whiteouts()), tar(*_through_links())]


def _base() -> list[Item]:
    capability = {"SCHILY.xattr.security.capability": "\x01\0\0\2\0 \0\0\0\0\0\0\0\0\0\0\0\0\0\0"}
    return [
        folder("./", 0o755),
        folder("usr"),
        *(folder(f"usr/{name}") for name in ("bin", "lib", "sbin")),
        # usr-merge: later layers write through these.
        symlink("bin", "usr/bin"),
        symlink("lib", "/usr/lib"),
        symlink("sbin", "./usr/../usr/sbin"),
        file("usr/bin/sh", b"shell", 0o755),
        hardlink("usr/bin/dash", "usr/bin/sh"),
        file("usr/bin/su", b"su", 0o4755),
        file("usr/bin/wall", b"wall", 0o2755),
        Item("usr/bin/ping", b"ping", mode=0o755, pax=capability),
        Item("usr/bin/noted", b"noted", pax={"SCHILY.xattr.user.note": "kept", "mtime": "1.25"}),
        folder("tmp", 0o1777),
        folder("mail", 0o2775),
        folder("closed", 0o555),
        file("closed/inner", b"inner", 0o400),
        folder("secret", 0o700),
        folder("secret/inner", 0o700),
        file("secret/inner/key", b"key", 0o600),
        folder("run"),
        Item("run/pipe", kind=tarfile.FIFOTYPE, mode=0o640),
        folder("dev"),
        Item("dev/console", kind=tarfile.CHRTYPE, mode=0o600),
        Item("dev/sda", kind=tarfile.BLKTYPE, mode=0o600),
        *_folders_of(LONG),
        file(f"{LONG}/{'f' * 200}", b"long name"),
        *_folders_of(DEEP),
        file(f"{DEEP}/deep", b"deep"),
        file("zeros", bytes(SPARSE_BYTES)),
        file("half", b"begin" + bytes(2**20) + b"end"),
        file("empty", b""),
        file("caf\u00e9 \U0001f40b", b"unicode"),
        file("new\nline\x1b[2J", b"control"),
        symlink("dangling", "nowhere/at/all"),
        symlink("outside", "/etc/passwd"),
        symlink("climbing", "../../../etc/shadow"),
        symlink("self", "self"),
        *_replaced(),
    ]


def _replaced() -> list[Item]:
    """Entries that the next layers replace or hide."""
    return [
        folder("types"),
        *(file(f"types/file-to-{kind}") for kind in ("folder", "symlink", "fifo", "file")),
        *(folder(f"types/folder-to-{kind}") for kind in ("file", "symlink", "folder")),
        *(file(f"types/folder-to-{kind}/content") for kind in ("file", "symlink", "folder")),
        *(symlink(f"types/link-to-{kind}", "file-to-file") for kind in ("file", "folder", "link")),
        folder("opaque"),
        folder("opaque/inner"),
        file("opaque/inner/hidden"),
        file("opaque/hidden"),
        folder("gone"),
        folder("gone/inner"),
        file("gone/inner/file"),
        file("gone-file"),
        file("again", b"first"),
        folder("back"),
        file("back/old"),
        file("linked", b"linked across layers", 0o640),
        file("linked-then-changed", b"one"),
        hardlink("same-then-changed", "linked-then-changed"),
    ]


def _changes() -> list[Item]:
    return [
        folder("types", 0o711),
        folder("types/file-to-folder"),
        file("types/file-to-folder/inner", b"in"),
        symlink("types/file-to-symlink", "file-to-file"),
        Item("types/file-to-fifo", kind=tarfile.FIFOTYPE, mode=0o600),
        file("types/file-to-file", b"new", 0o755),
        file("types/folder-to-file", b"was a folder"),
        symlink("types/folder-to-symlink", "folder-to-folder"),
        folder("types/folder-to-folder", 0o750),
        file("types/link-to-file", b"was a link"),
        folder("types/link-to-folder"),
        symlink("types/link-to-link", "folder-to-folder"),
        folder("closed", 0o555),
        file("closed/added", b"added", 0o444),
        hardlink("link-below", "linked"),
        hardlink("link-below-again", "link-below"),
        file("linked-then-changed", b"two"),
        file("again", b"one"),
        file("again", b"two, the last one"),
    ]


def _whiteouts() -> list[Item]:
    return [
        folder("opaque", 0o700),
        opaque("opaque"),
        file("opaque/new", b"new"),
        whiteout("gone"),
        whiteout("gone-file"),
        whiteout("never-was"),
        whiteout("back"),
        folder("back", 0o711),
        file("back/new", b"new"),
        whiteout("usr/bin/dash"),
        Item(".wh..wh.plnk"),
    ]


def _through_links() -> list[Item]:
    """Entries below symlinks of the base, without entries for the folders."""
    return [
        file("bin/added", b"through a relative symlink", 0o755),
        file("lib/modules/kernel.ko", b"through an absolute symlink"),
        file("sbin/init", b"through a symlink with ..", 0o755),
        whiteout("bin/ping"),
        hardlink("sbin/sh", "bin/sh"),
        file("tmp/below-an-implied-folder", b"x"),
    ]


def _folders_of(path: str) -> list[Item]:
    parts = path.split("/")
    return [folder("/".join(parts[: number + 1])) for number in range(len(parts))]
