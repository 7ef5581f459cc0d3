"""What must stay as it is while something hostile is unpacked beside it."""

import os
from pathlib import Path

from tests.hostile.corpus import OUTSIDE
from tests.services.trees import tree_of


class Outside:
    """A folder beside that of the layers, with a file that everybody would like to change."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._folder = scratch / OUTSIDE
        self._folder.mkdir()
        (self._folder / "secret").write_bytes(b"untouched")
        self._before = tree_of(self._folder, with_times=True)
        self._host = _host()

    def check(self, *beside: str) -> None:
        """Check that nothing changed and nothing else stands beside it than these names."""
        assert tree_of(self._folder, with_times=True) == self._before
        assert set(os.listdir(self._scratch)) <= {OUTSIDE, *beside}
        assert _host() == self._host


def _host() -> dict[str, object]:
    # The root, /etc and the two files that hostile images go for.
    places = ("/", "/etc", "/tmp", "/etc/passwd", "/etc/shadow")
    return {
        path: (os.lstat(path).st_ino, os.lstat(path).st_nlink, os.lstat(path).st_mode)
        for path in places[:2] + places[3:]
    }
