"""Paths as people type them: made whole, and explained when a word is missing."""

from pathlib import Path

import pytest

from hpcbox.errors import HpcboxError, ImageNotFound
from hpcbox.image.local_path import parse_typed, path_in_mind
from tests.image.local import layout


def test_a_path_that_was_typed_without_its_form_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "Layout")
    (tmp_path / "Root").mkdir()
    (tmp_path / "X.tar").write_bytes(b"")
    for text, meant in {
        "./Layout": "'oci:./Layout' may be meant",
        "Root": "'dir:./Root' may be meant",
        "X.tar": "'oci-archive:./X.tar' or 'docker-archive:./X.tar' may be meant",
    }.items():
        with pytest.raises(HpcboxError) as caught:
            parse_typed(text, "docker.io")
        assert meant in str(caught.value)


def test_a_registry_without_an_image_lets_a_path_of_that_name_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images/root").mkdir(parents=True)

    with pytest.raises(ImageNotFound) as caught, path_in_mind("images/root"):
        raise ImageNotFound("registry docker.io has no image images/root", hint="check it")
    assert "— 'dir:./images/root' may be meant" in str(caught.value)
    with pytest.raises(ImageNotFound, match="check it"), path_in_mind("images/none"):
        raise ImageNotFound("registry docker.io has no image images/none", hint="check it")


def test_a_typed_path_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    for text, expected in {
        "oci:x:1": f"oci:{tmp_path}/x:1",
        "./a b.sqsh": f"{tmp_path}/a b.sqsh",
        "dir:.": f"dir:{tmp_path}",
        "~/x.sqsh": "/home/alice/x.sqsh",
        "docker-archive:~/x.tar:a:1": "docker-archive:/home/alice/x.tar:a:1",
        "/x/y.erofs": "/x/y.erofs",
        "debian:12": "docker.io/library/debian:12",
    }.items():
        assert str(parse_typed(text, "docker.io", str(tmp_path))) == expected
