"""Layers that lean on the layers below: whether one fits a stack as it is, and its form if not.

A layer is unpacked by itself. Three things can't be known then (OCI image-spec, layer.md, says
that layers are applied one on the other):

- an entry `bin/x` without an entry `bin`: below there may be a symlink `bin → usr/bin`, and the
  image has usr/bin/x then. As unpacked, a folder `bin` would hide the symlink;
- such a folder may exist below with another mode than 0755 (`tmp`), which the image keeps;
- a hardlink to a file below: both names are one file in the image.

A layer in such a case is copied once more for that stack, without its data: a folder's files as
hardlinks, an erofs image as another index over the same file. Most layers list all their folders
and never come here. The rules stand here once; the forms bring a copy that can be changed each.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Protocol

from hpcbox.errors import LayerRejected
from hpcbox.rootfs import policy, stack
from hpcbox.rootfs.beneath import clean, rejected, walk
from hpcbox.rootfs.layer_view import Folder
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.trail import Trail
from hpcbox.rootfs.tree import FOLDER, SYMLINK, Node
from hpcbox.store.opened_layer import OpenedLayer, open_in
from hpcbox.store.sink import Needs


class LayerCopy(Protocol):
    """A layer's copy that can be changed. Paths are real, without symlinks; b"" is the root."""

    def view(self) -> Folder:
        """Return the copy as it is, for looking; to be closed."""

    def has_folder(self, path: bytes) -> bool:
        """Whether a folder stands at a path."""

    def make_folder(self, path: bytes) -> None:
        """Make a folder in one that is there."""

    def dress(self, path: bytes, like: Node) -> None:
        """Give a folder another one's mode and time."""

    def take(self, path: bytes) -> None:
        """Take a folder away, for `merge`."""

    def merge(self, path: bytes) -> None:
        """Move what is in the folder that was taken to another; what stands there is replaced."""

    def link(self, below: Stack, file: bytes, path: bytes) -> None:
        """Give a file of the layers below, which is no folder, a name here unless it is taken.

        All names that one file gets are hardlinks of each other.
        """

    def finish(self) -> None:
        """Write what isn't written yet.

        Raises:
            OSError: the disk can't take it.
        """


@contextmanager
def opened(layer_folders: Sequence[int]) -> Iterator[list[OpenedLayer]]:
    """Open the forms of layers by descriptors of their folders.

    Raises:
        OSError: one can't be opened.
    """
    with ExitStack() as closing_all:
        found = []
        for layer in layer_folders:
            found.append(open_in(layer))
            closing_all.callback(found[-1].close)
        yield found


def fits(needs: Needs, below: Sequence[int]) -> bool:
    """Say whether a layer with these needs may lie as it is on these layers.

    `below` are descriptors of layer folders, bottom first; the layers may have any form.

    Raises:
        LayerRejected: an entry leads through a symlink to a folder that the image doesn't have.
        StoreError: a layer below can't be read.
    """
    linked = set(needs.linked_folders)
    fitting = not needs.links
    with (
        opened(below) as below_forms,
        stack.opened(below_forms) as under,
        closing(Trail(under)) as trail,
    ):
        for folder in _near_each_other(needs.folders):
            found = trail.look(os.fsencode(folder)) if below else None
            if found is None and folder in linked:
                raise _leads_nowhere(os.fsencode(folder))
            if found is None:
                continue
            other_mode = found.mode != policy.IMPLIED_MODE
            if found.kind == SYMLINK or (found.kind == FOLDER and other_mode):
                fitting = False
    return fitting


def settle(needs: Needs, copy: LayerCopy, below: Sequence[OpenedLayer]) -> None:
    """Change a layer's copy to what belongs on these layers (bottom first).

    Raises:
        LayerRejected: a symlink of the layers below leads out of the image or nowhere, or a
            hardlink has no target.
        OSError: the copy can't be written.
        StoreError: a layer below can't be read.
    """
    with stack.opened(below) as under:
        _Settling(needs, copy, under).run()
        copy.finish()


class _Settling:
    def __init__(self, needs: Needs, copy: LayerCopy, below: Stack) -> None:
        self._needs = needs
        self._copy = copy
        self._below = below
        self._trail = Trail(below)
        # Folders of the image by the path that was asked for, without symlinks.
        self._real_paths: dict[bytes, bytes] = {}

    def run(self) -> None:
        linked = set(self._needs.linked_folders)
        with closing(self._trail):
            for folder in _near_each_other(self._needs.folders):
                self._settle_folder(os.fsencode(folder), must_exist=folder in linked)
            for name, target in self._needs.links:
                self._settle_link(os.fsencode(name), clean(os.fsencode(target), os.fsencode(name)))

    def _settle_folder(self, folder: bytes, *, must_exist: bool) -> None:
        parent, _, name = folder.rpartition(b"/")
        real = _joined(self._resolved(parent, folder), name)
        if not self._copy.has_folder(real):
            # It went along when the folder that holds it was moved onto another.
            return
        found = self._trail.look(real)
        if found is None and must_exist:
            raise _leads_nowhere(folder)
        if found is not None and found.kind == FOLDER:
            self._copy.dress(real, found)
        elif found is not None and found.kind == SYMLINK:
            # What lies in it goes where the symlink of its name below leads.
            hides = self._hides_all_below(real)
            self._copy.take(real)
            self._real_paths.clear()
            target = self._resolved(real, folder)
            if hides and not target:
                raise rejected(folder, "a whiteout of the image's root")
            self._ensure(target)
            self._copy.merge(target)
            self._real_paths.clear()

    def _hides_all_below(self, folder: bytes) -> bool:
        view = self._copy.view()
        try:
            for part in folder.split(b"/"):
                inner = view.enter(part)
                view.close()
                view = inner
            return view.itself().is_opaque
        finally:
            view.close()

    def _settle_link(self, name: bytes, target: bytes) -> None:
        target_parent, _, target_name = target.rpartition(b"/")
        real = _joined(self._resolved(target_parent, name), target_name)
        found = self._trail.look(real)
        if found is None or found.kind == FOLDER:
            raise rejected(name, f"a hardlink to '{os.fsdecode(target)}', which no layer has")
        parent, _, link_name = name.rpartition(b"/")
        place = self._resolved(parent, name)
        # Both names go into this layer, so that they stay one file where the image is written to;
        # but one that this layer hides stays hidden.
        shown = [real] if self._look_in_whole(real) is not None else []
        for path in (*shown, _joined(place, link_name)):
            self._ensure(path.rpartition(b"/")[0])
            self._copy.link(self._below, real, path)

    def _resolved(self, folder: bytes, entry: bytes) -> bytes:
        """Return the real path of a folder of the whole stack, this layer on top."""
        if not folder:
            return b""
        real = self._real_paths.get(folder)
        if real is None:
            parent, _, name = folder.rpartition(b"/")
            real = self._walked(self._resolved(parent, entry), name, entry)
            self._real_paths[folder] = real
        return real

    def _walked(self, start: bytes, name: bytes, entry: bytes) -> bytes:
        def step(real: list[bytes], part: bytes, _linked: bool) -> bytes | None:  # noqa: FBT001
            path = b"/".join([*real, part])
            if self._copy.has_folder(path):
                return None
            found = self._look_in_whole(path)
            if found is None or found.kind not in (FOLDER, SYMLINK):
                shown = os.fsdecode(path)
                raise rejected(entry, f"its path leads to '{shown}', which is no folder")
            return None if found.kind == FOLDER else found.target

        return walk(name, entry, step, start)

    def _look_in_whole(self, path: bytes) -> Node | None:
        view = self._copy.view()
        try:
            return self._below.look_through(view, path)
        finally:
            view.close()

    def _ensure(self, real: bytes) -> None:
        """Make a folder, which the layers below have, in this layer, dressed as below."""
        made: list[bytes] = []
        for part in real.split(b"/") if real else []:
            made.append(part)
            path = b"/".join(made)
            if self._copy.has_folder(path):
                continue
            self._copy.make_folder(path)
            found = self._trail.look(path)
            if found is not None:
                self._copy.dress(path, found)


def _near_each_other(folders: Sequence[str]) -> list[str]:
    """Return paths so that each comes after its parent, and next to what lies beside it."""
    return sorted(folders, key=lambda folder: folder.split("/"))


def _leads_nowhere(folder: bytes) -> LayerRejected:
    return rejected(folder, "a symlink leads there, and the image has no such folder")


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
