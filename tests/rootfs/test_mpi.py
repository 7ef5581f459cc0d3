"""What is read of an image's MPI: on the lab's images, and on roots that want to lead outside."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hpcbox import kernel
from hpcbox.image.compression import decompressed
from hpcbox.rootfs import mpi, packages
from hpcbox.rootfs.layer_view import DirectoryFolder
from hpcbox.rootfs.mpi_library import MPICH, OPEN_MPI, PMI1, PMI2, PMIX
from hpcbox.rootfs.root_files import MountedRoot, StackedRoot
from hpcbox.rootfs.stack import Stack
from hpcbox.rootfs.unpack import DirectorySink
from tests.rootfs.unpacking import budget, stacked
from tests.services import images
from tests.services.small_images import file, folder, symlink, whiteout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hpcbox.rootfs.root_files import RootFiles

IMAGES = ("mpich", "mpich42", "openmpi4", "openmpi5", "static")
BLOBS = "docker/registry/v2/blobs/sha256"


def blob(digest: str) -> Path:
    name = digest.removeprefix("sha256:")
    return images.storage() / BLOBS / name[:2] / name / "data"


@pytest.fixture(scope="module")
def unpacked() -> Iterator[dict[str, list[Path]]]:
    """The layers of the lab's images, bottom first; a layer that two images share is made once."""
    images.ensure()
    # Not pytest's, which keeps what three runs left: this is a gigabyte.
    with tempfile.TemporaryDirectory() as scratch:
        yield {name: [unpack(layer, scratch) for layer in layers_of(name)] for name in IMAGES}


def layers_of(name: str) -> list[str]:
    manifest = json.loads(blob(images.digest(name)).read_bytes())
    return [layer["digest"] for layer in manifest["layers"]]


def unpack(layer: str, scratch: str) -> Path:
    place = Path(scratch, layer.removeprefix("sha256:"))
    if not place.exists():
        place.mkdir()
        with blob(layer).open("rb") as packed:
            stream = decompressed(packed)  # type: ignore[arg-type]  # it is never aborted
            DirectorySink().unpack(stream, str(place), budget())
    return place / "fs"


@contextmanager
def stack_of(layers: list[Path]) -> Iterator[StackedRoot]:
    """The layers as a store's reader sees them."""
    with ExitStack() as opened:
        folders = [DirectoryFolder(os.open(layer, os.O_RDONLY)) for layer in layers]
        for one in folders:
            opened.callback(one.close)
        yield StackedRoot(Stack(folders))


@contextmanager
def mount_of(layers: list[Path]) -> Iterator[MountedRoot]:
    """The layers as a process beside the container sees them; mounted nowhere."""
    with ExitStack() as opened, tempfile.TemporaryDirectory() as empty:

        def closed_later(descriptor: int) -> int:
            opened.callback(os.close, descriptor)
            return descriptor

        # Overlayfs wants two layers, and a text of at most 255 bytes.
        below = [closed_later(os.open(layer, os.O_PATH)) for layer in (empty, *map(str, layers))]
        context = closed_later(kernel.fsopen("overlay"))
        kernel.fsconfig_flag(context, "userxattr")
        lower = ":".join(f"/proc/self/fd/{layer}" for layer in below[::-1])
        kernel.fsconfig_string(context, "lowerdir", lower)
        kernel.fsconfig_create(context)
        yield MountedRoot(closed_later(kernel.fsmount(context)))


VIEWS = pytest.mark.parametrize("view", [stack_of, mount_of], ids=["stacked", "mounted"])


@VIEWS
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mpich", (MPICH, "4.0.2", (PMI1, PMI2), {"mpiexec.hydra", "hydra_pmi_proxy"})),
        ("mpich42", (MPICH, "4.2.1", (PMI1, PMI2), {"mpiexec.hydra", "hydra_pmi_proxy"})),
        ("openmpi4", (OPEN_MPI, "4.1.4", (PMIX,), set())),
        ("openmpi5", (OPEN_MPI, "5.0.7", (PMIX,), {"prted", "prterun"})),
    ],
)
def test_the_mpi_of_an_image_is_told_from_its_files(
    unpacked: dict[str, list[Path]], view: object, name: str, told: object
) -> None:
    with view(unpacked[name]) as root:  # type: ignore[operator]
        (found,) = mpi.probe(root)

    assert (found.product, found.version, found.pmi, set(found.launchers)) == told
    assert found.family == found.product
    assert all(path == f"/usr/bin/{name}" for name, path in found.launchers.items())


@VIEWS
def test_an_image_without_mpi_has_none(unpacked: dict[str, list[Path]], view: object) -> None:
    with view(unpacked["static"]) as root:  # type: ignore[operator]
        assert mpi.probe(root) == ()


@VIEWS
def test_a_program_of_the_image_tells_its_family(
    unpacked: dict[str, list[Path]], view: object
) -> None:
    with view(unpacked["mpich42"]) as root:  # type: ignore[operator]
        assert "libmpich.so.12" in mpi.program_needs(root, "/opt/mpi/hello")
        assert "libmpich.so.12" in mpi.program_needs(root, "hello", "/bin:/opt/mpi")
        assert mpi.program_needs(root, "/opt/mpi/hello.py") == ()
        assert mpi.program_needs(root, "no-such-program") == ()
        # Debian's alternatives are absolute links: /usr/bin → /etc → /usr/bin.
        assert "libc.so.6" in mpi.program_needs(root, "mpiexec")


def test_an_mpi_is_shown_in_one_line(unpacked: dict[str, list[Path]]) -> None:
    with stack_of(unpacked["mpich42"]) as root:
        (mpich,) = mpi.probe(root)
    with stack_of(unpacked["openmpi4"]) as root:
        (open_mpi,) = mpi.probe(root)

    assert str(mpich) == "MPICH 4.2.1, PMI-1/2; launcher /usr/bin/mpiexec.hydra"
    assert str(open_mpi) == "Open MPI 4.1.4, PMIx; no launcher"
    assert mpich.as_json()["pmi"] == ["pmi1", "pmi2"]


def library(path: Path, *words: str) -> bytes:
    """A small library that holds these words."""
    source = path / "library.c"
    source.write_text("".join(f'const char word{n}[] = "{w}";\n' for n, w in enumerate(words)))
    target = path / "library.so"
    subprocess.run(["gcc", "-shared", "-o", target, source], check=True)
    return target.read_bytes()


def probed(layers: list[Path], variables: tuple[str, ...] = ()) -> tuple[mpi.MpiSupport, ...]:
    with stack_of(layers) as root:
        return mpi.probe(root, variables)


def test_an_mpi_beside_the_images_path_is_found_with_its_launcher(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [
            folder("opt"), folder("opt/mpi"), folder("opt/mpi/lib"), folder("opt/mpi/bin"),
            file("opt/mpi/lib/libmpi.so.12.3.2", library(tmp_path, "PMI_FD", "4.1.2")),
            symlink("opt/mpi/lib/libmpi.so.12", "libmpi.so.12.3.2"),
            file("opt/mpi/bin/mpiexec.hydra"),
        ],
    )  # fmt: skip

    (found,) = probed(layers, ("PATH=/opt/mpi/bin:/usr/bin",))

    assert (found.family, found.version, found.pmi) == (MPICH, "4.1.2", (PMI1, PMI2))
    assert found.launchers == {"mpiexec.hydra": "/opt/mpi/bin/mpiexec.hydra"}


def test_intels_library_is_called_by_its_name(tmp_path: Path) -> None:
    content = library(tmp_path, "Intel(R) MPI Library 2021.13", "PMI_FD")
    layers = stacked(
        tmp_path, [folder("usr"), folder("usr/lib"), file("usr/lib/libmpi.so.12", content)]
    )

    (found,) = probed(layers)

    assert (found.family, found.product, found.version) == (MPICH, "Intel MPI", "")


def test_a_build_with_slurms_plugins_speaks_pmi2_too(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [
            folder("usr"), folder("usr/lib"), folder("usr/lib/openmpi"),
            file("usr/lib/libmpi.so.40.30.6"), file("usr/lib/openmpi/mca_pmix_s2.so"),
        ],
    )  # fmt: skip

    (found,) = probed(layers)

    # Nothing in the library says 4.1.6, so the last number stays open.
    assert (found.version, found.pmi) == ("4.1", (PMI2, PMIX))


def test_two_families_in_one_image_are_both_told(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [
            folder("usr"),
            folder("usr/lib"),
            file("usr/lib/libmpi.so.40"),
            file("usr/lib/libmpich.so.12"),
        ],
    )

    assert {one.family for one in probed(layers)} == {MPICH, OPEN_MPI}


def test_what_an_upper_layer_removed_is_not_found(tmp_path: Path) -> None:
    layers = stacked(
        tmp_path,
        [folder("usr"), folder("usr/lib"), file("usr/lib/libmpi.so.40")],
        [folder("usr"), folder("usr/lib"), whiteout("usr/lib/libmpi.so.40")],
    )

    assert probed(layers) == ()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the root, with a library in it."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "libmpi.so.40").write_bytes(b"")
    (place / "secret").write_text("Package: libmpich12\nVersion: 6.6.6\n")
    return place


@VIEWS
@pytest.mark.parametrize("target", ["{}", "../../../../../../../../../../../..{}"])
def test_no_symlink_leads_out_of_the_root(
    tmp_path: Path, outside: Path, view: object, target: str
) -> None:
    layers = stacked(
        tmp_path / "root",
        [folder("usr"),
         symlink("usr/lib", target.format(outside)), symlink("a", "b"),
         symlink("b", "a"),
         symlink("secret", f"{outside}/secret")],
    )  # fmt: skip

    with view(layers) as root:  # type: ignore[operator]
        assert mpi.probe(root, ("LD_LIBRARY_PATH=/a:/usr/lib:relative:/\x1b[2J:/nul\0",)) == ()
        for path in ("/secret", "/a", "/a/b", "/usr", "/none", "/usr/lib/libmpi.so.40"):
            with pytest.raises(OSError, match=r".+"):
                os.close(root.open(path))


@VIEWS
def test_a_pipe_in_the_place_of_a_file_does_not_hold_up(tmp_path: Path, view: object) -> None:
    layer = tmp_path / "layer"
    (layer / "usr/lib").mkdir(parents=True)
    os.mkfifo(layer / "usr/lib/libmpi.so.12.4.1")
    (layer / "var/lib/dpkg").mkdir(parents=True)
    os.mkfifo(layer / "var/lib/dpkg/status")

    with view([layer]) as root:  # type: ignore[operator]
        (found,) = mpi.probe(root)

    assert (found.version, found.pmi, found.launchers) == ("4.2", (), {})


@pytest.mark.parametrize(
    ("packaged", "version"),
    [
        ("4.0.2-3+b1", "4.0.2"),
        ("4.3.0+really4.2.1-1", "4.2.1"),
        ("1:3.4.1~rc2-1", "3.4.1"),
        ("5.0.7-r0", "5.0.7"),
        ("\x1b[2J", ""),
        ("", ""),
        ("1" * 100, ""),
    ],
)
def test_the_makers_version_is_taken_from_a_packages(packaged: str, version: str) -> None:
    assert packages.upstream(packaged) == version


def test_a_program_path_with_a_nul_is_no_file(tmp_path: Path) -> None:
    layers = stacked(tmp_path, [file("x")])

    def needs(root: RootFiles) -> tuple[str, ...]:
        return mpi.program_needs(root, "/x\0y")

    with stack_of(layers) as root:
        assert needs(root) == ()
