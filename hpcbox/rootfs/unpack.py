"""Unpacking a layer's tar into a folder: all of OCI's layer semantics, nothing outside the folder.

Owners are not kept: every file belongs to the store's account and is mapped to the job's user when
it is mounted. So setuid and setgid bits of files, which would speak of other owners, and file
capabilities are dropped; devices are skipped. Later entries replace earlier ones. What depends on
layers below is not looked at here but noted (`Needs`): see settle.py.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from hpcbox.image.source import ByteStream
from hpcbox.rootfs import settle, settled, tar, whiteouts
from hpcbox.rootfs.beneath import Beneath, clean, rejected
from hpcbox.store import trees
from hpcbox.store.sink import Budget, Needs, Unpacked

FOLDER = "fs"
"""The name of a directory layer's root in its layer folder (store/paths.py)."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAXIMUM_TARGET = 4095
# What the file system says of an entry that it can't hold, whatever the disk's state.
_ENTRY_ERRORS = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EILSEQ}
)
_OLDEST_NS, _NEWEST_NS = -(2**31) * 10**9, 2**33 * 10**9


class DirectorySink:
    """Makes layers that are plain folders: overlayfs stacks them as they are."""

    def unpack(self, stream: ByteStream, folder: str, budget: Budget) -> Unpacked:
        """Unpack a tar into `fs` of a layer folder.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            OSError: the folder can't be written.
        """
        os.mkdir(f"{folder}/{FOLDER}", 0o755)
        beneath = Beneath(f"{folder}/{FOLDER}")
        try:
            return _Unpacking(beneath, budget).run(tar.TarReader(stream))
        finally:
            beneath.close()

    def fits(self, needs: Needs, below: Sequence[int]) -> bool:
        """Say whether a layer with these needs may lie as it is on these layers (bottom first).

        Raises:
            LayerRejected: it may not lie on them in any form.
        """
        return settle.fits(needs, below)

    def settle(self, needs: Needs, layer: int, below: Sequence[int], folder: str) -> None:
        """Make the form of a layer that belongs on these layers, in a new layer folder.

        Raises:
            LayerRejected: there is none.
            OSError: the folder can't be written.
        """
        settled.make(needs, layer, below, folder)


class _Place(NamedTuple):
    """Where an entry goes: its folder's descriptor, its name in it, its real path."""

    folder: int
    name: bytes
    path: bytes


class _Unpacking:
    def __init__(self, beneath: Beneath, budget: Budget) -> None:
        self._beneath = beneath
        self._budget = budget
        self._entries = 0
        # Folders get their modes and times last: one of mode 0555 takes no more files, and each
        # new file would set the time again.
        self._folders: dict[bytes, tar.Entry] = {}
        self._links: dict[bytes, bytes] = {}
        self._make = {
            tar.FOLDER: self._folder,
            tar.SYMLINK: self._symlink,
            tar.HARDLINK: self._hardlink,
            tar.FIFO: self._fifo,
        }

    def run(self, reader: tar.TarReader) -> Unpacked:
        for entry in reader:
            self._budget.spend_entries(1)
            self._entries += 1
            try:
                self._add(entry, reader)
            except OSError as error:
                if error.errno in _ENTRY_ERRORS:
                    raise rejected(entry.name, error.strerror or "impossible here") from error
                raise
        self._finish_folders()
        return Unpacked(self._entries, self._needs())

    def _add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        path = clean(entry.name, entry.name)
        parent, _, name = path.rpartition(b"/")
        if not name:
            if entry.kind != tar.FOLDER:
                raise rejected(entry.name, "it would replace the image's root")
            self._folders[b""] = entry
            return
        if name.startswith(b".wh."):
            self._whiteout(entry, parent, name)
            return
        if entry.kind in (tar.CHARACTER, tar.BLOCK):
            return
        folder, real = self._beneath.folder(parent, entry.name)
        place = _Place(folder, name, real + b"/" + name if real else name)
        self._links.pop(place.path, None)
        if entry.kind == tar.FILE:
            self._file(entry, place, reader)
        else:
            self._make[entry.kind](entry, place)

    def _file(self, entry: tar.Entry, place: _Place, reader: tar.TarReader) -> None:
        try:
            file = os.open(place.name, _NEW_FILE, 0o600, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            file = os.open(place.name, _NEW_FILE, 0o600, dir_fd=place.folder)
        try:
            for piece in reader.content():
                written = os.write(file, piece)
                while written < len(piece):
                    written += os.write(file, piece[written:])
            _set_xattrs(file, entry)
            os.fchmod(file, entry.mode & 0o1777)
            os.utime(file, ns=_times(entry))
        finally:
            os.close(file)

    def _folder(self, entry: tar.Entry, place: _Place) -> None:
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.folder)
        except FileExistsError:
            status = os.lstat(place.name, dir_fd=place.folder)
            if whiteouts.is_whiteout(status):
                self._beneath.replace_whiteout(place.name, place.folder, place.path)
            elif not stat.S_ISDIR(status.st_mode):
                self._remove(place)
                os.mkdir(place.name, 0o700, dir_fd=place.folder)
        self._beneath.implied.pop(place.path, None)
        self._folders[place.path] = entry

    def _symlink(self, entry: tar.Entry, place: _Place) -> None:
        if not entry.target or len(entry.target) > _MAXIMUM_TARGET or b"\0" in entry.target:
            raise rejected(entry.name, "a symlink that no file system can hold")
        try:
            os.symlink(entry.target, place.name, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            os.symlink(entry.target, place.name, dir_fd=place.folder)
        os.utime(place.name, ns=_times(entry), dir_fd=place.folder, follow_symlinks=False)

    def _fifo(self, entry: tar.Entry, place: _Place) -> None:
        try:
            os.mkfifo(place.name, 0o600, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            os.mkfifo(place.name, 0o600, dir_fd=place.folder)
        # Nobody else is in this tree: the name just made is no symlink.
        os.chmod(place.name, entry.mode & 0o777, dir_fd=place.folder)
        os.utime(place.name, ns=_times(entry), dir_fd=place.folder, follow_symlinks=False)

    def _hardlink(self, entry: tar.Entry, place: _Place) -> None:
        target = clean(entry.target, entry.name)
        if not target:
            raise rejected(entry.name, "a hardlink to the image's root")
        if target == place.path:
            raise rejected(entry.name, "a hardlink to itself")
        source = self._link_source(target, entry.name)
        if source is None:
            # The target lies in a layer below, or is another name for one that does.
            self._remove(place)
            self._links[place.path] = self._links.get(target, target)
            return
        try:
            _link(source, place)
        except FileExistsError:
            old = os.lstat(place.name, dir_fd=place.folder)
            if os.path.samestat(old, os.lstat(source.name, dir_fd=source.folder)):
                return
            if stat.S_ISDIR(old.st_mode):
                # The target could lie inside of what it would replace.
                raise rejected(entry.name, "a hardlink in the place of a folder") from None
            self._remove(place, source.folder)
            _link(source, place)

    def _link_source(self, target: bytes, entry: bytes) -> _Place | None:
        """Return what a hardlink of this layer leads to, None when this layer doesn't have it."""
        parent, _, name = target.rpartition(b"/")
        try:
            folder, real = self._beneath.folder(parent, entry, make=False)
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(status.st_mode):
            raise rejected(entry, "a hardlink to a folder")
        if whiteouts.is_whiteout(status):
            return None
        return _Place(folder, name, real + b"/" + name if real else name)

    def _whiteout(self, entry: tar.Entry, parent: bytes, name: bytes) -> None:
        if whiteouts.is_metadata(name):
            return
        if whiteouts.is_opaque_mark(name):
            if not parent:
                raise rejected(entry.name, "a whiteout of the image's root")
            _, real = self._beneath.folder(parent, entry.name)
            above, _, last = real.rpartition(b"/")
            if not real:
                raise rejected(entry.name, "a whiteout of the image's root")
            folder, _ = self._beneath.folder(above, entry.name)
            self._beneath.hide(last, folder, real)
            return
        hidden = whiteouts.hidden_name(name)
        if hidden is None:
            raise rejected(entry.name, "a whiteout of its folder or the one above")
        folder, real = self._beneath.folder(parent, entry.name)
        path = real + b"/" + hidden if real else hidden
        # A whiteout speaks of the layers below only: what this layer has stays.
        if path in self._links:
            return
        try:
            whiteouts.make(hidden, folder)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=folder).st_mode):
                self._beneath.hide(hidden, folder, path)
                self._beneath.implied.pop(path, None)

    def _remove(self, place: _Place, in_use: int = -1) -> None:
        """Remove what an earlier entry of this layer made, and what is known of it."""
        try:
            status = os.lstat(place.name, dir_fd=place.folder)
        except FileNotFoundError:
            return
        trees.remove(place.name, parent=place.folder)
        if not stat.S_ISDIR(status.st_mode):
            if stat.S_ISLNK(status.st_mode):
                self._beneath.drop(None, keep=(place.folder, in_use))
            return
        below = place.path + b"/"

        def gone(path: bytes) -> bool:
            return path == place.path or path.startswith(below)

        self._folders = {path: kept for path, kept in self._folders.items() if not gone(path)}
        self._links = {path: kept for path, kept in self._links.items() if not gone(path)}
        self._beneath.drop(gone, keep=(place.folder, in_use))

    def _finish_folders(self) -> None:
        paths = {b"", *self._beneath.implied, *self._beneath.hiding, *self._folders}
        # Deepest first: a folder that nobody may enter has been left by then.
        for path in sorted(paths, key=lambda path: path.count(b"/") + bool(path), reverse=True):
            entry = self._folders.get(path)
            folder = self._beneath.open(path, _READ_FOLDER)
            try:
                if entry is None:
                    os.fchmod(folder, 0o755)
                    continue
                _set_xattrs(folder, entry)
                os.fchmod(folder, entry.mode & 0o7777)
                os.utime(folder, ns=_times(entry))
            finally:
                os.close(folder)

    def _needs(self) -> Needs:
        implied = {
            path: linked
            for path, linked in self._beneath.implied.items()
            if not self._is_hidden(path)
        }
        return Needs(
            folders=tuple(os.fsdecode(path) for path in implied),
            linked_folders=tuple(os.fsdecode(path) for path, linked in implied.items() if linked),
            links=tuple(
                (os.fsdecode(name), os.fsdecode(target)) for name, target in self._links.items()
            ),
        )

    def _is_hidden(self, path: bytes) -> bool:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            if path in self._beneath.hiding:
                return True
        return False


def _link(source: _Place, place: _Place) -> None:
    os.link(
        source.name,
        place.name,
        src_dir_fd=source.folder,
        dst_dir_fd=place.folder,
        follow_symlinks=False,
    )


def _set_xattrs(descriptor: int, entry: tar.Entry) -> None:
    for name, value in entry.xattrs.items():
        # overlayfs reads user.overlay.* of layers: those are ours alone. Others than user.* need
        # privileges or speak of owners.
        if not name.startswith(b"user.") or name.startswith(b"user.overlay."):
            continue
        if b"\0" in name:
            raise rejected(entry.name, "the name of an extended attribute holds a NUL byte")
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                reason = "its extended attributes are larger than the store's file system takes"
                raise rejected(entry.name, reason) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise


def _times(entry: tar.Entry) -> tuple[int, int]:
    bounded = min(max(entry.mtime_ns, _OLDEST_NS), _NEWEST_NS)
    return bounded, bounded
