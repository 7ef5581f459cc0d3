"""A folder of this machine as a tree for a layer (`dir:PATH`).

What lies below is never followed out of it: symlinks are entries, other file systems that are
mounted below (a /proc among them) are empty folders. Sockets and devices are left out, and so are
names that mean a whiteout in a layer.
"""

import os
import stat
from collections.abc import Iterator

from hpcbox import kernel
from hpcbox.image import layer_tar, local_file
from hpcbox.image.layer_tar import Entry

_PIECE_BYTES = 2**20
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_KINDS = {
    stat.S_IFREG: layer_tar.FILE,
    stat.S_IFDIR: layer_tar.FOLDER,
    stat.S_IFLNK: layer_tar.SYMLINK,
    stat.S_IFIFO: layer_tar.FIFO,
}
_WHITEOUT = b".wh."


class FolderTree:
    """The tree below a folder."""

    def __init__(self, path: str) -> None:
        self._path = path

    def walk(self) -> "FolderWalk":
        """Begin a walk.

        Raises:
            ImageError, PermissionRefused: there is no such folder, or it can't be read.
        """
        return FolderWalk(self._path)


class FolderWalk:
    """One walk: a folder, what is in it, and then its folders, in the order of their bytes."""

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise local_file.refused(path, error) from error
        self._folder = -1
        self._entry = Entry(b".", layer_tar.FOLDER, 0, 0)
        self._device = os.fstat(self._root).st_dev
        self._linked: dict[tuple[int, int], bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries.

        Raises:
            ImageError, PermissionRefused: something can't be read.
        """
        waiting = [b"."]
        while waiting:
            name = waiting.pop()
            try:
                self._folder = kernel.openat2(self._root, name, _OPEN_FOLDER, _BENEATH)
            except OSError as error:
                raise self._refused(name, error) from error
            status = os.fstat(self._folder)
            yield self._described(name, name, status)
            if status.st_dev == self._device:
                folders: list[bytes] = []
                yield from self._files(name, folders)
                waiting += reversed(folders)
            os.close(self._folder)
            self._folder = -1

    def content(self) -> Iterator[bytes]:
        """Yield the content of the current file.

        Raises:
            ImageError, PermissionRefused: it can't be read.
            DigestMismatch: it is shorter now.
        """
        name, missing = self._entry.name, self._entry.size_bytes
        try:
            descriptor = os.open(os.path.basename(name), _OPEN_FILE, dir_fd=self._folder)
            try:
                is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
                while missing:
                    piece = os.read(descriptor, min(missing, _PIECE_BYTES)) if is_file else b""
                    if not piece:
                        raise local_file.changed(self._shown(name))
                    missing -= len(piece)
                    yield piece
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused(name, error) from error

    def close(self) -> None:
        """End the walk."""
        for descriptor in (self._root, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._root = self._folder = -1

    def _files(self, folder: bytes, folders: list[bytes]) -> Iterator[Entry]:
        try:
            names = sorted(map(os.fsencode, os.listdir(self._folder)))
        except OSError as error:
            raise self._refused(folder, error) from error
        for last in names:
            if last.startswith(_WHITEOUT):
                continue
            name = last if folder == b"." else folder + b"/" + last
            try:
                status = os.stat(last, dir_fd=self._folder, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)
                elif stat.S_IFMT(status.st_mode) in _KINDS:
                    self._entry = self._described(name, last, status)
                    yield self._entry
            except OSError as error:
                raise self._refused(name, error) from error

    def _described(self, name: bytes, last: bytes, status: os.stat_result) -> Entry:
        kind, size, target = _KINDS[stat.S_IFMT(status.st_mode)], 0, b""
        xattrs = {}
        if kind == layer_tar.SYMLINK:
            target = os.fsencode(os.readlink(last, dir_fd=self._folder))
        elif kind == layer_tar.FOLDER:
            xattrs = _user_xattrs(self._folder)
        elif kind == layer_tar.FILE:
            size = status.st_size
            first = self._first_name(name, status)
            if first is not None:
                kind, size, target = layer_tar.HARDLINK, 0, first
            else:
                xattrs = self._file_xattrs(last)
        mode = stat.S_IMODE(status.st_mode)
        return Entry(name, kind, mode, status.st_mtime_ns // 10**9, size, target, xattrs)

    def _first_name(self, name: bytes, status: os.stat_result) -> bytes | None:
        """Return under which name this file came before, None if it didn't."""
        if status.st_nlink == 1:
            return None
        first = self._linked.setdefault((status.st_dev, status.st_ino), name)
        return None if first == name else first

    def _file_xattrs(self, last: bytes) -> dict[bytes, bytes]:
        # By path of /proc: a listing by name would follow a symlink that was put there meanwhile.
        descriptor = os.open(last, _OPEN_FILE, dir_fd=self._folder)
        try:
            return _user_xattrs(descriptor)
        finally:
            os.close(descriptor)

    def _refused(self, name: bytes, error: OSError) -> Exception:
        shown = self._shown(name)
        if isinstance(error, FileNotFoundError):
            return local_file.changed(shown)
        return local_file.refused(shown, error)

    def _shown(self, name: bytes) -> str:
        return self._path if name == b"." else os.path.join(self._path, os.fsdecode(name))


def _user_xattrs(descriptor: int) -> dict[bytes, bytes]:
    try:
        names = [name for name in os.listxattr(descriptor) if name.startswith("user.")]
        found = {os.fsencode(name): os.getxattr(descriptor, name) for name in names}
        return layer_tar.kept_xattrs(found)
    except OSError:
        # A file system without them.
        return {}
