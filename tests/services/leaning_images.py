"""Images with a shell whose upper layers lean on the lower ones, and one of very many layers."""

from __future__ import annotations

from pathlib import Path

from tests.services.small_images import (
    file,
    folder,
    hardlink,
    opaque,
    symlink,
    tar,
    whiteout,
)

MANY = 127
_PROGRAMS = ("sh", "cat", "ls", "stat", "wc", "sleep", "test", "readlink", "echo", "id")


def base() -> bytes:
    """A usr-merged root with busybox, and files that upper layers speak of."""
    busybox = Path("/bin/busybox").read_bytes()
    return tar(
        *(folder(name) for name in ("usr", "usr/bin", "etc", "data", "dev", "proc", "sys", "old")),
        folder("tmp", 0o1777),
        file("usr/bin/busybox", busybox, 0o755),
        *(symlink(f"usr/bin/{name}", "busybox") for name in _PROGRAMS),
        symlink("bin", "usr/bin"),
        file("etc/private", b"mine\n", 0o600),
        file("etc/setuid", b"", 0o4755),
        file("data/one", b"one file\n" * 1000),
        file("gone"),
        file("old/hidden"),
    )


def leaning() -> tuple[bytes, ...]:
    """Layers that fit no stack as they are."""
    tool = file("bin/tool", b"#!/bin/sh\necho a tool\n", 0o755)
    return (
        base(),
        tar(tool, hardlink("data/again", "data/one"), file("tmp/kept", b"kept\n")),
        tar(whiteout("gone"), opaque("old"), file("old/new")),
    )


def many() -> tuple[bytes, ...]:
    """As many layers as an image of Docker's may have, each with a file of its own."""
    return (base(), *(tar(folder("many"), file(f"many/{each}")) for each in range(1, MANY)))
