"""Layers in the store: a folder, and a record of what it is and where its bytes came from."""

import json
import os
from dataclasses import dataclass, replace
from typing import Any

from hpcbox.errors import ImageError, StoreError
from hpcbox.image.digest import Digest
from hpcbox.image.source import Origin
from hpcbox.store import paths
from hpcbox.store.proof import Samples
from hpcbox.store.sink import Needs

VERSION = 1


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
    """

    diff_id: Digest
    size_bytes: int
    entries: int
    origins: tuple[Origin, ...]
    samples: dict[str, Samples]
    needs: Needs

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
        if table["version"] != VERSION:
            raise StoreError(f"{path} was written by another version of hpcbox")
        return LayerRecord(
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
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, ImageError) as error:
        raise StoreError(f"{path} is damaged: {error}", hint="remove the image") from error


def publish(store: str, name: str, folder: str, record: LayerRecord) -> None:
    """Make a finished folder (with the layer in its `fs`) visible as a layer.

    Raises:
        OSError: the disk can't take it.
    """
    write_record(folder, record)
    os.rename(folder, paths.layer(store, name))
    sync_folder(f"{store}/layers")


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
