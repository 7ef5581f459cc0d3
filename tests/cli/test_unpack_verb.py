"""`hpcbox unpack` as a person or script meets it."""

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.services import nasty_image
from tests.services.bad_registry import BadRegistry, Fault
from tests.services.commands import wait_until
from tests.services.registry import Registry
from tests.services.small_images import compressed, digest, file, folder, push_image, symlink, tar
from tests.services.trees import differences, tree_of
from tests.store.pulling import finish, hpcbox


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        push_image(running, "nasty:1", *nasty_image.layers(), Env=["A=b"], Cmd=["sh"])
        push_image(running, "small:1", tar(folder("d"), *[file(f"d/{n}") for n in range(9)]))
        push_image(running, "zeros:1", tar(file("zeros", bytes(2**21))))
        yield running


@pytest.fixture
def bad_registry() -> Iterator[BadRegistry]:
    with BadRegistry() as running:
        yield running


def unpack(*words: str, cwd: Path) -> tuple[int, str, str]:
    """Run `hpcbox unpack` in a folder."""
    return finish(hpcbox("unpack", *words, store=cwd / "store"))


def test_the_tree_is_the_one_that_umoci_makes(registry: Registry, tmp_path: Path) -> None:
    image = f"{registry.address}/nasty:1"
    layout = f"{tmp_path}/layout:1"
    copy = ["skopeo", "copy", "--quiet", "--src-tls-verify=false"]
    subprocess.run([*copy, f"docker://{image}", f"oci:{layout}"], check=True, timeout=60)
    umoci = ["umoci", "raw", "unpack", "--image", layout, f"{tmp_path}/umoci"]
    subprocess.run(umoci, check=True, timeout=60, capture_output=True)

    code, _, _ = unpack(image, str(tmp_path / "ours"), cwd=tmp_path)

    ours, theirs = tree_of(tmp_path / "ours"), tree_of(tmp_path / "umoci")
    for name in nasty_image.SETUID:
        theirs[name] = theirs[name].replace(" 4755 ", " 755 ").replace(" 2755 ", " 755 ")
    for name in nasty_image.DEVICES:
        del theirs[name]
    assert code == 0
    assert differences(ours, theirs) == []
    assert len(ours) > 150


def test_owners_are_the_caller_and_nothing_privileged_is_kept(
    registry: Registry, tmp_path: Path
) -> None:
    unpack(f"{registry.address}/nasty:1", str(tmp_path / "root"), cwd=tmp_path)

    found = [path.lstat() for path in (tmp_path / "root").rglob("*")]
    assert {(status.st_uid, status.st_gid) for status in found} == {(os.geteuid(), os.getegid())}
    assert os.listxattr(tmp_path / "root/usr/bin/noted") == ["user.note"]
    assert (tmp_path / "root/zeros").stat().st_blocks == 0
    assert (tmp_path / "root/usr/bin/noted").stat().st_mtime == 1.25


def test_it_prints_the_digest_and_a_line_a_phase(registry: Registry, tmp_path: Path) -> None:
    code, out, err = unpack(f"{registry.address}/small:1", str(tmp_path / "root"), cwd=tmp_path)

    assert code == 0
    assert out.startswith("sha256:")
    assert [line.split()[0] for line in err.splitlines()] == ["resolving", "pulling", "ready"]
    assert not (tmp_path / "store").exists()


def test_it_speaks_json(registry: Registry, tmp_path: Path) -> None:
    image = f"{registry.address}/nasty:1"

    code, out, err = unpack("--json", image, str(tmp_path / "root"), cwd=tmp_path)

    result = json.loads(out)
    assert code == 0
    assert result["folder"] == str(tmp_path / "root")
    assert (result["env"], result["cmd"]) == (["A=b"], ["sh"])
    assert len(result["layers"]) == 4
    assert result["size_bytes"] > nasty_image.SPARSE_BYTES
    assert [json.loads(line)["phase"] for line in err.splitlines()][-1] == "ready"


def test_an_empty_folder_becomes_the_root(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to("root")

    code, _, _ = unpack(f"{registry.address}/small:1", str(tmp_path / "link"), cwd=tmp_path)

    assert code == 0
    assert (tmp_path / "root/d/8").exists()


def _filled(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine").touch()


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        pytest.param(_filled, "is not empty", id="not empty"),
        pytest.param(Path.touch, "is no folder", id="a file"),
        pytest.param(lambda path: path.symlink_to("n/a"), "doesn't exist", id="a dangling link"),
    ],
)
def test_a_folder_in_use_is_refused_before_anything_is_fetched(
    bad_registry: BadRegistry, tmp_path: Path, prepare: Callable[[Path], None], text: str
) -> None:
    target = tmp_path / "root"
    prepare(target)
    before = tree_of(tmp_path)

    code, out, err = unpack(f"{bad_registry.address}/a:1", str(target), cwd=tmp_path)

    assert (code, out) == (64, "")
    assert text in err
    assert tree_of(tmp_path) == before
    assert bad_registry.received == []


def test_a_folder_that_cannot_be_made_is_told(registry: Registry, tmp_path: Path) -> None:
    code, _, err = unpack(f"{registry.address}/small:1", "/proc/root-of-image", cwd=tmp_path)

    assert code == 73
    assert "cannot unpack into '/proc/root-of-image'" in err


@pytest.mark.parametrize(
    ("words", "image", "text"),
    [
        (("--max-entries", "9"), "small:1", "more than 9 files"),
        (("--max-bytes", "2M"), "zeros:1", "larger than 2.1 MB"),
        (("--max-bytes", "20k"), "nasty:1", "larger than 20.5 KB"),
    ],
)
def test_an_image_above_the_limits_is_refused(
    registry: Registry, tmp_path: Path, words: tuple[str, ...], image: str, text: str
) -> None:
    address = f"{registry.address}/{image}"

    code, _, err = unpack("--quiet", *words, address, str(tmp_path / "root"), cwd=tmp_path)

    assert code == 65
    assert text in err
    assert words[0] in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [("--max-bytes", "20Q"), ("--max-entries", "-1")])
def test_a_wrong_limit_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, _, err = unpack(*words, "127.0.0.1:1/a:1", str(tmp_path / "root"), cwd=tmp_path)

    assert code == 64
    assert f"'{words[1]}'" in err or "--max-entries" in err


BROKEN = [
    pytest.param(Fault(alter=lambda body: body[:-9] + b"123456789"), 65, id="altered"),
    pytest.param(Fault(alter=lambda body: body[:-1]), 65, id="shorter"),
    pytest.param(Fault(status=404), 66, id="missing"),
]


@pytest.mark.parametrize(("fault", "expected"), BROKEN)
def test_when_a_layer_fails_nothing_is_left(
    bad_registry: BadRegistry, tmp_path: Path, fault: Fault, expected: int
) -> None:
    last = tar(file("b", os.urandom(3 * 2**20)))
    push_image(bad_registry, "image:1", tar(file("a")), last, how="none")
    bad_registry.spoil(f"/v2/image/blobs/{digest(last)}", fault)
    (tmp_path / "root").mkdir()

    code, out, err = unpack(
        "--quiet", f"{bad_registry.address}/image:1", str(tmp_path / "root"), cwd=tmp_path
    )

    assert (code, out, err.count("\n")) == (expected, "", 1)
    assert tree_of(tmp_path).keys() == {".", "root"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_when_a_signal_ends_it_nothing_is_left(
    bad_registry: BadRegistry, tmp_path: Path, number: signal.Signals
) -> None:
    first, last = tar(folder("closed", 0), file("a")), tar(file("b", os.urandom(3 * 2**20)))
    push_image(bad_registry, "image:1", first, last)
    stalled = digest(compressed(last, "gzip"))
    bad_registry.spoil(f"/v2/image/blobs/{stalled}", Fault(stall_after=2**20))
    image = f"{bad_registry.address}/image:1"
    process = hpcbox("unpack", "--quiet", image, str(tmp_path / "root"), store=tmp_path / "store")
    wait_until(
        lambda: any(tmp_path.glob("root.hpcbox-*/1/b")), timeout_seconds=20, what="it unpacks"
    )

    process.send_signal(number)
    code, out, err = finish(process)

    assert (code, out) == (128 + number, "")
    assert err == ("hpcbox: interrupted\n" if number == signal.SIGINT else "")
    assert os.listdir(tmp_path) == []


def test_a_symlink_out_of_the_image_takes_nothing_out(
    bad_registry: BadRegistry, tmp_path: Path
) -> None:
    layers = (tar(symlink("out", "../..")), tar(file("out/escaped")))
    push_image(bad_registry, "image:1", *layers)

    code, _, err = unpack(
        "--quiet", f"{bad_registry.address}/image:1", str(tmp_path / "root"), cwd=tmp_path
    )

    assert code == 65
    assert "leads out of the image" in err
    assert os.listdir(tmp_path) == []


def test_a_file_that_cannot_be_written_leaves_nothing(registry: Registry, tmp_path: Path) -> None:
    process = hpcbox(
        "unpack", "--quiet", f"{registry.address}/nasty:1", str(tmp_path / "root"), store=tmp_path
    )
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, 100))

    code, _, err = finish(process)

    assert code == 73
    assert "cannot unpack" in err
    assert os.listdir(tmp_path) == []
