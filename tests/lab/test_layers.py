"""The layers that the lab's images are made of."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
from functools import partial
from pathlib import Path  # noqa: TC003 — pytest reads annotations of fixtures

from tests.services import images, layers


def names(layer: layers.Layer) -> list[str]:
    with tarfile.open(layer.file) as tar:
        return tar.getnames()


def test_a_layer_knows_both_its_digests(tmp_path: Path) -> None:
    layer = layers.cached(tmp_path, "one", lambda tar: layers.add_file(tar, "a", b"x"))

    packed = layer.file.read_bytes()
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(packed)).hexdigest()}"
    assert layer.size_bytes == len(packed)


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    made: list[layers.Layer] = []
    for key in ("one", "two"):
        (tree / "file").write_text("same")
        os.utime(tree / "file", (len(made), len(made)))
        made.append(layers.cached(tmp_path, key, partial(layers.add_tree, root=tree)))

    assert made[0].digest == made[1].digest


def test_a_deletion_in_an_overlay_becomes_a_whiteout(tmp_path: Path) -> None:
    (tmp_path / "upper/etc").mkdir(parents=True)
    os.mknod(tmp_path / "upper/etc/gone", 0o20000, os.makedev(0, 0))

    layer = layers.cached(tmp_path, "one", partial(layers.add_tree, root=tmp_path / "upper"))

    assert names(layer) == ["etc", "etc/.wh.gone"]


def test_an_opaque_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "upper/etc").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/etc", "trusted.overlay.opaque", b"y")

    layer = layers.cached(tmp_path, "one", partial(layers.add_tree, root=tmp_path / "upper"))

    assert names(layer) == ["etc", "etc/.wh..wh..opq"]


def test_an_interrupted_layer_is_made_anew(tmp_path: Path) -> None:
    def break_off(tar: tarfile.TarFile) -> None:
        layers.add_file(tar, "a", b"x")
        raise InterruptedError

    try:
        layers.cached(tmp_path, "one", break_off)
    except InterruptedError:
        layer = layers.cached(tmp_path, "one", lambda tar: layers.add_file(tar, "b", b"x"))

    assert names(layer) == ["b"]


def test_every_image_has_a_marker_of_its_own() -> None:
    markers = {images.marker(name) for name in ("debian", "mpich", "openmpi4", "static")}

    assert len(markers) == 4
    assert all(len(one) == 64 for one in markers)
