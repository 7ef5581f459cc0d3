"""What each entry of a layer's tar becomes in a folder: all of OCI's layer semantics.

policy.py says what of an entry is kept; devices are skipped. Later entries replace earlier ones.
What depends on layers below is not looked at here but noted.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hpcbox.rootfs import policy, tar, whiteouts
from hpcbox.rootfs.beneath import Beneath, check_real, clean, rejected
from hpcbox.rootfs.content import write_at
from hpcbox.rootfs.direct import DirectFile, is_hole
from hpcbox.rootfs.notes import Note
from hpcbox.store import trees
from hpcbox.store.sink import Budget, Unpacked

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Smaller files are quicker written through the page cache.
_LARGE_BYTES = 2**20
_READ_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What the file system says of an entry that it can't hold, whatever the disk's state.
_ENTRY_ERRORS = frozenset(
    {errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EILSEQ}
)


class Form(NamedTuple):
    """How folders are finished when all entries of a layer are there.

    Attributes:
        whiteout: marks a name in an open folder as hidden below.
        opaque: marks all of an open folder as hidden below.
        set_mode: gives an open folder its mode.
    """

    whiteout: Callable[[bytes, int], None]
    opaque: Callable[[int], None]
    set_mode: Callable[[int, int], None]


class _Place(NamedTuple):
    """Where an entry goes: its folder's descriptor, its name in it, its real path."""

    folder: int
    name: bytes
    path: bytes


class Unpacking:
    """One layer on its way into a folder."""

    def __init__(self, beneath: Beneath, budget: Budget, form: Form) -> None:
        self._beneath = beneath
        self._notes = beneath.notes
        self._budget = budget
        self._form = form
        self._masked = _masked_modes(beneath.root)
        self._make = {
            tar.FOLDER: self._folder,
            tar.SYMLINK: self._symlink,
            tar.HARDLINK: self._hardlink,
            tar.FIFO: self._fifo,
        }

    def run(self, reader: tar.TarReader) -> Unpacked:
        """Make all entries, then give the folders their modes, times and marks.

        Raises:
            LayerRejected: an entry may not be unpacked.
            BlobInvalid: the stream is no tar.
            ImageTooLarge: the budget is spent.
            OSError: the folder can't be written.
        """
        entries = 0
        implied = 0
        for entry in reader:
            # Folders that are only implied count too: one entry can stand for hundreds.
            self._budget.spend_entries(1 + self._notes.implied - implied)
            implied = self._notes.implied
            entries += 1
            if entry.segments is not None:
                self._budget.spend_bytes(entry.hole_bytes)
            try:
                self._add(entry, reader)
            except OSError as error:
                if error.errno in _ENTRY_ERRORS:
                    raise rejected(entry.name, error.strerror or "impossible here") from error
                raise
        needs = self._notes.needs()
        for path, note in self._notes.deepest_first():
            self._finish(path, note)
        return Unpacked(entries, needs)

    def _add(self, entry: tar.Entry, reader: tar.TarReader) -> None:
        path = clean(entry.name, entry.name)
        parent, _, name = path.rpartition(b"/")
        if not name:
            if entry.kind != tar.FOLDER:
                raise rejected(entry.name, "it would replace the image's root")
            self._list(b"", entry)
            return
        if name.startswith(b".wh."):
            self._whiteout(entry, parent, name)
            return
        if entry.kind in (tar.CHARACTER, tar.BLOCK) or whiteouts.is_below_metadata(parent):
            return
        folder, real = self._beneath.folder(parent, entry.name)
        place = _Place(folder, name, real + b"/" + name if real else name)
        self._notes.unlink(place.path)
        if entry.kind == tar.FILE:
            self._file(entry, place, reader)
        else:
            self._make[entry.kind](entry, place)

    def _file(self, entry: tar.Entry, place: _Place, reader: tar.TarReader) -> None:
        mode = entry.mode & policy.FILE_BITS
        self._notes.reveal(place.path)
        try:
            file = os.open(place.name, _NEW_FILE, mode, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            file = os.open(place.name, _NEW_FILE, mode, dir_fd=place.folder)
        try:
            write = _write if entry.size_bytes < _LARGE_BYTES else _write_direct
            write(file, entry, reader)
            if entry.xattrs is not None:
                _set_xattrs(file, entry.name, policy.kept_attributes(entry.xattrs, entry.name))
            if mode & self._masked:
                os.fchmod(file, mode)
            _set_times(file, entry.mtime_ns)
        finally:
            os.close(file)

    def _folder(self, entry: tar.Entry, place: _Place) -> None:
        check_real(place.path, entry.name)
        try:
            os.mkdir(place.name, 0o700, dir_fd=place.folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(place.name, dir_fd=place.folder).st_mode):
                self._remove(place)
                os.mkdir(place.name, 0o700, dir_fd=place.folder)
        if self._notes.reveal(place.path):
            self._notes.replace(place.path)
        self._list(place.path, entry)

    def _list(self, path: bytes, entry: tar.Entry) -> None:
        note = self._notes.at(path)
        note.is_listed, note.is_implied = True, False
        note.mode, note.mtime_ns = entry.mode & policy.FOLDER_BITS, entry.mtime_ns
        note.xattrs = policy.kept_attributes(entry.xattrs, entry.name) or None

    def _symlink(self, entry: tar.Entry, place: _Place) -> None:
        policy.check_target(entry.target, entry.name)
        self._notes.reveal(place.path)
        try:
            os.symlink(entry.target, place.name, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            os.symlink(entry.target, place.name, dir_fd=place.folder)
        _set_times_at(place, entry)

    def _fifo(self, entry: tar.Entry, place: _Place) -> None:
        self._notes.reveal(place.path)
        try:
            os.mkfifo(place.name, 0o600, dir_fd=place.folder)
        except FileExistsError:
            self._remove(place)
            os.mkfifo(place.name, 0o600, dir_fd=place.folder)
        # Nobody else is in this tree: the name just made is no symlink.
        os.chmod(place.name, entry.mode & policy.FIFO_BITS, dir_fd=place.folder)
        _set_times_at(place, entry)

    def _hardlink(self, entry: tar.Entry, place: _Place) -> None:
        target = clean(entry.target, entry.name)
        if not target:
            raise rejected(entry.name, "a hardlink to the image's root")
        if target == place.path:
            raise rejected(entry.name, "a hardlink to itself")
        source = self._link_source(target, entry.name)
        self._notes.reveal(place.path)
        if source is None:
            # The target lies in a layer below, or is another name for one that does.
            self._remove(place)
            self._notes.link(place.path, self._notes.linked(target) or target)
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
        return _Place(folder, name, real + b"/" + name if real else name)

    def _whiteout(self, entry: tar.Entry, parent: bytes, name: bytes) -> None:
        if whiteouts.is_metadata(name):
            return
        hidden = whiteouts.hidden_name(name)
        if hidden is None and not whiteouts.is_opaque_mark(name):
            raise rejected(entry.name, "a whiteout of its folder or the one above")
        folder, real = self._beneath.folder(parent, entry.name)
        if hidden is None:
            if not real:
                raise rejected(entry.name, "a whiteout of the image's root")
            self._notes.hide(real)
            return
        path = real + b"/" + hidden if real else hidden
        # A whiteout speaks of the layers below only: what this layer has stays.
        if self._notes.linked(path) is not None:
            return
        try:
            status = os.lstat(hidden, dir_fd=folder)
        except FileNotFoundError:
            self._notes.whiteout(real, hidden)
            return
        if stat.S_ISDIR(status.st_mode):
            self._notes.replace(path)

    def _remove(self, place: _Place, in_use: int = -1) -> None:
        """Remove what an earlier entry of this layer made, and what is known of it."""
        try:
            status = os.lstat(place.name, dir_fd=place.folder)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(status.st_mode):
            for path in _folders_from(place.name, place.folder, place.path):
                self._notes.forget(path)
        trees.remove(place.name, parent=place.folder)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._beneath.drop(keep=(place.folder, in_use))

    def _finish(self, path: bytes, note: Note) -> None:
        # Deepest first: a folder that nobody may enter has been left by then.
        folder = self._beneath.open(path, _READ_FOLDER)
        try:
            if note.hides:
                self._form.opaque(folder)
            for name in note.whiteouts or ():
                self._form.whiteout(name, folder)
            if note.xattrs is not None:
                _set_xattrs(folder, path, note.xattrs)
            self._form.set_mode(folder, note.mode)
            if note.is_listed:
                _set_times(folder, note.mtime_ns)
        finally:
            os.close(folder)


def _masked_modes(root: int) -> int:
    """Return the permission bits that a new file may not get when it asks for them.

    Those of the umask; all of them where folders hand down access rules of their own.
    """
    try:
        if any(name.startswith("system.") for name in os.listxattr(root)):
            return 0o7777
    except OSError:
        return 0o7777
    # umask(2) can only be asked by setting it, for all threads.
    with open("/proc/thread-self/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("Umask:"):
                return 0o7000 | int(line.split()[1], 8)
    return 0o7777


def _write(file: int, entry: tar.Entry, reader: tar.TarReader) -> None:
    end = 0
    for offset, piece in reader.content():
        if not is_hole(piece):
            write_at(file, piece, offset)
            end = offset + len(piece)
    if end < entry.size_bytes:
        os.ftruncate(file, entry.size_bytes)


def _write_direct(file: int, entry: tar.Entry, reader: tar.TarReader) -> None:
    direct = DirectFile(file)
    for offset, piece in reader.content():
        if not is_hole(piece):
            direct.fill_to(offset)
            direct.append(piece)
    direct.fill_to(entry.size_bytes)
    direct.finish()


def _folders_from(name: bytes, parent: int, path: bytes) -> Iterator[bytes]:
    """Yield the path of a folder and of all below it."""
    yield path
    folder = os.open(name, _READ_FOLDER, dir_fd=parent)
    try:
        with os.scandir(folder) as entries:
            inner = [
                os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
        for one in inner:
            yield from _folders_from(one, folder, path + b"/" + one)
    finally:
        os.close(folder)


def _link(source: _Place, place: _Place) -> None:
    os.link(
        source.name,
        place.name,
        src_dir_fd=source.folder,
        dst_dir_fd=place.folder,
        follow_symlinks=False,
    )


def _set_xattrs(descriptor: int, entry: bytes, xattrs: dict[bytes, bytes]) -> None:
    for name, value in xattrs.items():
        try:
            os.setxattr(descriptor, name, value)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.E2BIG, errno.ERANGE):
                raise rejected(entry, policy.ATTRIBUTES_TOO_LARGE) from error
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                raise


def _set_times(descriptor: int, mtime_ns: int) -> None:
    kept = policy.kept_time(mtime_ns)
    os.utime(descriptor, ns=(kept, kept))


def _set_times_at(place: _Place, entry: tar.Entry) -> None:
    kept = policy.kept_time(entry.mtime_ns)
    os.utime(place.name, ns=(kept, kept), dir_fd=place.folder, follow_symlinks=False)
