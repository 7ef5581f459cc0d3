"""The grammar of --container-mounts."""

import pytest

from hpcbox.errors import MountRefused
from hpcbox.request import mounts
from hpcbox.request.mounts import NODEV, NOEXEC, NOSUID, RDONLY


def parsed(text: str) -> list[tuple[str, str, int]]:
    return [
        (mount.source, mount.target, mount.attributes)
        for mount in mounts.parse(text, "/scratch/dir")
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("/a:/b", [("/a", "/b", NOSUID | NODEV)]),
        ("/a", [("/a", "/a", NOSUID | NODEV)]),
        ("/a:/b:ro", [("/a", "/b", NOSUID | NODEV | RDONLY)]),
        ("/a:/b:ro+noexec", [("/a", "/b", NOSUID | NODEV | RDONLY | NOEXEC)]),
        ("/a:/b:rbind+rslave", [("/a", "/b", NOSUID | NODEV)]),
        ("tmpfs:/scratch", [("", "/scratch", NOSUID | NODEV)]),
        ("./in:/in", [("/scratch/dir/in", "/in", NOSUID | NODEV)]),
        ("/a//x/:/b/./c/", [("/a/x", "/b/c", NOSUID | NODEV)]),
        ("/a:/b,/c:/d", [("/a", "/b", NOSUID | NODEV), ("/c", "/d", NOSUID | NODEV)]),
        ("/with space:/b", [("/with space", "/b", NOSUID | NODEV)]),
    ],
)
def test_an_entry_is_read(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/a:/", "nothing may be mounted over /"),
        ("/a:/proc", "nothing may be mounted over /proc"),
        ("/a:/proc/self", "nothing may be mounted over /proc/self"),
        ("/a:/dev/shm", "nothing may be mounted over /dev/shm"),
        ("/a://sys//x", "nothing may be mounted over /sys/x"),
        ("/a:/b/../proc", "climbs with"),
        ("/a:b", "not an absolute path"),
        ("/a:/b:rw:x", "cannot read the mount"),
        (":/b", "cannot read the mount"),
        ("/a:/b:shiny", "unknown flag 'shiny'"),
        ("/a:", "not an absolute path"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(MountRefused, match=reason):
        mounts.parse(text, "/scratch/dir")


def test_a_path_that_only_begins_like_a_kernel_tree_is_fine() -> None:
    assert parsed("/a:/process") == [("/a", "/process", NOSUID | NODEV)]
