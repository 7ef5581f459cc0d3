"""Images that lie on this machine, written by the tools that people use, pulled as a user does."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rootfs.unpacking import listing
from tests.services.registry import Registry
from tests.services.small_images import (
    Item,
    file,
    folder,
    hardlink,
    push_image,
    symlink,
    tar,
    whiteout,
)
from tests.store.pulling import finish, hpcbox

LOWER = tar(folder("bin"), file("bin/tool", os.urandom(70_000), 0o755), file("gone"))
UPPER = tar(whiteout("gone"), symlink("link", "bin/tool"), hardlink("other", "link"))
ROOT: tuple[Item, ...] = (
    folder("bin", 0o755),
    folder("etc", 0o700),
    file("bin/tool", os.urandom(70_000), 0o755),
    file("etc/environment", b'# of enroot\nPATH=/opt/bin\nexport NAME="a b"\nno variable\n'),
    file("etc/secret", b"", 0o600),
    file("with a 'blank\" and \\", b"odd"),
    file("n" * 150 + "/" + "m" * 150, b"long"),
    symlink("link", "bin/tool"),
    symlink("far", "x" * 150),
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        push_image(running, "local/image:1", LOWER, UPPER, Env=["A=b"], Cmd=["sh"])
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system in a folder."""
    root = tmp_path_factory.mktemp("tree") / "root"
    root.mkdir()
    subprocess.run(["tar", "-x", "-C", root], input=tar(*ROOT), check=True)
    os.link(root / "bin/tool", root / "zz-hardlink")
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o600 | 0o020000, os.makedev(1, 3))
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(300_000)
    os.setxattr(root / "bin", "user.kept", b"yes")
    return root


def skopeo(registry: Registry, target: str, image: str = "local/image:1", *words: str) -> None:
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", *words]
        + [f"docker://{registry.address}/{image}", target],
        check=True,
    )


def pulled(reference: str, store: Path) -> dict[str, object]:
    """Pull as a user does; return the record."""
    words = ["pull", "--json", reference]
    code, out, err = finish(hpcbox(*words, store=store))
    assert code == 0, err
    record: dict[str, object] = json.loads(out)
    return record


def refusal(reference: str, store: Path) -> tuple[int, str]:
    code, out, err = finish(hpcbox("pull", "--quiet", reference, store=store))
    assert out == ""
    assert err.count("\n") == 1, err
    assert len(err) <= 600
    return code, err


def content(store: Path, record: dict[str, object]) -> dict[str, str]:
    """What the image's only layer holds, whatever form it has in the store."""
    layers = record["layers"]
    assert isinstance(layers, list)
    assert len(layers) == 1
    return listing(store / "layers" / layers[0] / "fs")


@pytest.mark.parametrize(
    "form",
    [
        "oci:{}:1",
        "oci:{}",
        "oci-archive:{}:1",
        "docker-archive:{}",
        "docker-archive:{}:local/image:1",
    ],
)
def test_what_skopeo_copies_is_the_image_of_the_registry(
    registry: Registry, store: Path, tmp_path: Path, form: str
) -> None:
    place = tmp_path / "my images:x"
    name = "local/image:1" if form.startswith("docker") else "1"
    skopeo(registry, f"{form.partition(':')[0]}:{tmp_path}/copy:{name}")
    (tmp_path / "copy").rename(place)

    from_registry = pulled(f"{registry.address}/local/image:1", store)
    record = pulled(form.format(place), store)

    for same in ("layers", "env", "cmd", "size_bytes"):
        assert record[same] == from_registry[same]
    if form.startswith("oci"):
        assert record["digest"] == from_registry["digest"]
    references = record["references"]
    assert isinstance(references, list)
    assert form.format(place) in references


def test_an_archive_unpacks_to_the_tree_that_umoci_makes_of_it(
    registry: Registry, store: Path, tmp_path: Path
) -> None:
    for form in ("oci", "docker-archive"):
        skopeo(registry, f"{form}:{tmp_path}/{form}:local/image:1")
    words = ["umoci", "raw", "unpack", "--image", f"{tmp_path}/oci:local/image:1"]
    subprocess.run([*words, tmp_path / "umoci"], check=True, capture_output=True)

    for form in ("oci", "docker-archive"):
        root = tmp_path / f"of-{form}"
        code, _, err = finish(hpcbox("unpack", f"{form}:{tmp_path}/{form}", str(root), store=store))

        assert code == 0, err
        assert listing(root) == listing(tmp_path / "umoci")


def test_an_image_of_this_machine_is_listed_found_and_removed(
    store: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree.parent)
    digest = pulled("dir:root", store)["digest"]

    _, listed, _ = finish(hpcbox("images", store=store))
    _, shown, _ = finish(hpcbox("inspect", "--json", f"dir:{tree}", store=store))
    code, removed, err = finish(hpcbox("rm", "dir:./root", store=store))

    assert f"dir:{tree} " in listed
    assert json.loads(shown)["digest"] == digest
    assert json.loads(shown)["source"] == "store"
    assert code == 0, err
    assert f"removed {digest}" in removed


def test_an_image_of_this_machine_that_changed_is_run_as_it_is_now(
    store: Path, tmp_path: Path
) -> None:
    """Unlike a tag, which is asked for again only when somebody wants that."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    for text in ("old", "new"):
        (root / "bin/sh").write_bytes(Path("/bin/busybox").read_bytes())
        (root / "bin/sh").chmod(0o755)
        (root / "said").write_text(text)
        words = ["run", "--image", f"dir:{root}", "--", "/bin/sh", "-c", "read x </said; echo $x"]
        code, out, err = finish(hpcbox(*words, store=store))
        assert (code, out) == (0, f"{text}\n"), err


def test_a_folder_becomes_an_image_of_its_files(store: Path, tree: Path) -> None:
    record = pulled(f"dir:{tree}", store)

    expected = listing(tree)
    del expected["device"]
    assert content(store, record) == expected
    layer = store / "layers" / str(record["layers"]).strip("[]'") / "fs"
    assert (layer / "zz-hardlink").stat().st_nlink == 2
    assert os.getxattr(layer / "bin", "user.kept") == b"yes"
    assert int((layer / "etc").stat().st_mtime) == int((tree / "etc").stat().st_mtime)
    assert record["env"] == ["PATH=/opt/bin", "NAME=a b"]


def test_the_same_folder_is_the_same_image(
    store: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["cp", "-a", tree, tmp_path / "copy"], check=True)

    monkeypatch.chdir(tmp_path)
    first, second = pulled(f"dir:{tree}", store), pulled("dir:copy/.", store)

    assert first["digest"] == second["digest"]
    assert second["references"] == [f"dir:{tree}", f"dir:{tmp_path}/copy"]


MAKERS = {
    "gzip.sqsh": ["mksquashfs", "{tree}", "{image}", "-quiet", "-no-progress", "-comp", "gzip"],
    "zstd.sqsh": ["mksquashfs", "{tree}", "{image}", "-quiet", "-no-progress", "-comp", "zstd"],
    "xz.squashfs": ["mksquashfs", "{tree}", "{image}", "-quiet", "-no-progress", "-comp", "xz"],
    "plain.erofs": ["mkfs.erofs", "--quiet", "{image}", "{tree}"],
    "chunks.erofs": ["mkfs.erofs", "--quiet", "--chunksize=4096", "{image}", "{tree}"],
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_file_system_image_becomes_an_image_of_its_files(
    store: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    image = tmp_path / name
    words = [word.format(tree=tree, image=image) for word in MAKERS[name]]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    record = pulled(f"./{name}", store)

    expected = listing(tree)
    del expected["device"]
    assert content(store, record) == expected
    assert record["env"] == ["PATH=/opt/bin", "NAME=a b"]
    assert record["references"] == [str(image)]
