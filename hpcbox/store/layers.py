"""Layers in the store: a folder, and a record of what it is and where its bytes came from."""

import errno
import json
import os
from dataclasses import dataclass, replace
from typing import Any

from hpcbox.errors import ImageError, RecordDamaged, StoreError
from hpcbox.image.digest import Digest
from hpcbox.image.source import Origin
from hpcbox.store import forms, paths
from hpcbox.store.proof import Samples
from hpcbox.store.sink import Needs

VERSION = 2


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What layer.json says.

    Attributes:
        diff_id: sha256 of the layer's tar.
        size_bytes: size of the tar.
        entries: files, folders, links and whiteouts in it.
        origins: blobs that this layer was unpacked from or compared with.
        samples: per blob digest (hex), pieces of it that prove a later user's access.
        needs: what depends on the layers below.
        form: one of forms.FORMS; `publish` sees which.
        stored_bytes: what it takes of the disk; `publish` counts.
    """

    diff_id: Digest
    size_bytes: int
    entries: int
    origins: tuple[Origin, ...]
    samples: dict[str, Samples]
    needs: Needs
    form: str = forms.DIRECTORY
    stored_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the content of layer.json."""
        return {
            "version": VERSION,
            "diff_id": str(self.diff_id),
            "size_bytes": self.size_bytes,
            "entries": self.entries,
            "origins": [
                {
                    "registry": origin.registry,
                    "repository": origin.repository,
                    "blob": str(origin.blob),
                }
                for origin in self.origins
            ],
            "samples": {blob: samples.to_json() for blob, samples in self.samples.items()},
            "needs": self.needs.to_json(),
            "form": self.form,
            "stored_bytes": self.stored_bytes,
        }

    def with_origin(self, origin: Origin, samples: Samples) -> "LayerRecord":
        """Return the record of the same layer that was seen at one more place."""
        origins = self.origins if origin in self.origins else (*self.origins, origin)
        return replace(self, origins=origins, samples={**self.samples, origin.blob.hex: samples})


def read(store: str, name: str) -> LayerRecord | None:
    """Return the record of a layer, or None when the store has no such layer.

    Raises:
        StoreError: the record can't be read.
    """
    path = f"{paths.layer(store, name)}/layer.json"
    try:
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
        if table["version"] not in (1, VERSION):
            raise StoreError(f"{path} was written by another version of hpcbox")
        return _from_json(table)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, ImageError) as error:
        raise RecordDamaged(
            f"{path} is damaged: {error}",
            hint="remove the images that use it with 'hpcbox rm', and pull them again",
        ) from error


def _from_json(table: dict[str, Any]) -> LayerRecord:
    record = LayerRecord(
        Digest.parse(table["diff_id"]),
        int(table["size_bytes"]),
        int(table["entries"]),
        tuple(
            Origin(item["registry"], item["repository"], Digest.parse(item["blob"]))
            for item in table["origins"]
        ),
        {blob: Samples.from_json(item) for blob, item in table["samples"].items()},
        Needs.from_json(table["needs"]),
    )
    if table["version"] == 1:
        # Format 1 knew folders only and didn't count: the tar's size is near enough.
        return replace(record, stored_bytes=record.size_bytes)
    if table["form"] not in forms.FORMS:
        raise ValueError(f"a form '{table['form']}'")
    return replace(record, form=table["form"], stored_bytes=int(table["stored_bytes"]))


def publish(store: str, name: str, folder: str, record: LayerRecord) -> bool:
    """Make a finished folder visible as a layer; False when another flight was quicker.

    Raises:
        OSError: the disk can't take it.
    """
    form, stored_bytes = forms.of_folder(folder), forms.disk_bytes(folder)
    write_record(folder, replace(record, form=form, stored_bytes=stored_bytes))
    try:
        os.rename(folder, paths.layer(store, name))
    except OSError as error:
        # rename(2) gives either for a folder that is there and not empty.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_folder(f"{store}/layers")
    return True


def write_record(folder: str, record: LayerRecord) -> None:
    """Write layer.json into a layer's folder, whole or not at all.

    Raises:
        OSError: the disk can't take it.
    """
    write_whole(f"{folder}/layer.json", json.dumps(record.to_json()).encode())


def write_whole(path: str, content: bytes) -> None:
    """Write a file beside its place, wait until it is on disk, and rename it there.

    Raises:
        OSError: the disk can't take it.
    """
    aside = f"{path}.{os.getpid()}.new"
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, path)
    except OSError:
        if os.path.exists(aside):
            os.unlink(aside)
        raise


def sync_folder(path: str) -> None:
    """Wait until a folder's names are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
