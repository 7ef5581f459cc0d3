"""pull, images, inspect, rm and resolve as a person or script meets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bad_registry import BadRegistry, Fault
from tests.services.registry import Registry
from tests.services.small_images import file, push_image, tar
from tests.store.pulling import finish, hpcbox

LAYER = tar(file("a", b"1"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        push_image(running, "verbs/image:1", LAYER, Env=["A=b"], Cmd=["sh"])
        yield running


@pytest.fixture
def image(registry: Registry) -> str:
    return f"{registry.address}/verbs/image:1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def run(*words: str, store: Path) -> tuple[int, str, str]:
    return finish(hpcbox(*words, store=store))


def test_pull_prints_the_digest_and_a_line_a_phase(image: str, store: Path) -> None:
    code, out, err = run("pull", image, store=store)

    assert code == 0
    assert out.startswith("sha256:")
    assert [line.split()[0] for line in err.splitlines()] == ["resolving", "pulling", "ready"]
    assert "MB/s" in err or "KB/s" in err or "B/s" in err


def test_pull_can_be_quiet(image: str, store: Path) -> None:
    code, out, err = run("pull", "--quiet", image, store=store)

    assert (code, err) == (0, "")
    assert out.startswith("sha256:")


def test_pull_refuses_an_image_above_the_limits_it_is_given(image: str, store: Path) -> None:
    code, _, err = run("pull", "--quiet", "--max-bytes", "10", image, store=store)

    assert code == 65
    assert "larger than 10 B" in err
    assert "--max-bytes" in err


def test_pull_speaks_json(image: str, store: Path) -> None:
    code, out, err = run("pull", "--json", image, store=store)

    assert code == 0
    assert json.loads(out)["env"] == ["A=b"]
    assert [json.loads(line)["phase"] for line in err.splitlines()][-1] == "ready"


def test_images_lists_what_is_there(image: str, store: Path) -> None:
    run("pull", image, store=store)

    code, out, _ = run("images", store=store)
    _, as_json, _ = run("images", "--json", store=store)

    assert code == 0
    assert out.splitlines()[1].startswith(image)
    assert json.loads(as_json)[0]["references"] == [image]


def test_images_of_a_store_that_does_not_exist_are_none(store: Path) -> None:
    code, out, err = run("images", "--json", store=store)

    assert (code, json.loads(out), err) == (0, [], "")
    assert not store.exists()


def test_inspect_reads_the_registry_and_the_store(image: str, store: Path) -> None:
    _, remote, _ = run("inspect", "--json", image, store=store)
    run("pull", image, store=store)
    _, local, _ = run("inspect", "--json", image, store=store)
    code, text, _ = run("inspect", image, store=store)

    assert json.loads(local)["source"] == "store"
    assert json.loads(remote)["config"] == json.loads(local)["config"]
    assert code == 0
    assert "environment  A=b" in text


def mpi_of(image: str, store: Path, *environment: str) -> list[str]:
    variables = dict(one.split("=") for one in environment)
    _, out, _ = finish(hpcbox("inspect", image, store=store, **variables))
    return [line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith("mpi ")]


def test_the_mpi_of_an_image_is_known_once_it_is_pulled(image: str, store: Path) -> None:
    before = mpi_of(image, store)
    run("pull", image, store=store)
    _, as_json, _ = run("inspect", "--json", image, store=store)

    assert before == ["unknown until pulled"]
    assert mpi_of(image, store) == ["none found"]
    assert json.loads(as_json)["mpi"] == []


def test_what_a_pull_has_seen_is_known_where_only_the_home_is_shared(
    image: str, store: Path, tmp_path: Path
) -> None:
    finish(hpcbox("pull", image, store=store, HOME=str(tmp_path)))

    assert mpi_of(image, tmp_path / "other", f"HOME={tmp_path}") == ["none found"]


def test_rm_removes_and_a_second_rm_is_told(image: str, store: Path) -> None:
    run("pull", image, store=store)

    code, out, _ = run("rm", image, store=store)
    again, _, err = run("rm", image, store=store)

    assert (code, out.count("removed sha256:")) == (0, 1)
    assert again == 66
    assert "hpcbox images" in err


def test_resolve_prints_what_the_plugin_reads(image: str, store: Path) -> None:
    code, out, err = run("resolve", "--wire", image, store=store)
    _, pinned, _ = run("resolve", image, store=store)
    _, as_json, _ = run("resolve", "--json", image, store=store)

    assert (code, err) == (0, "")
    assert out.startswith("sha256:")
    assert len(out) == 72
    assert pinned.strip().endswith(f"@{out.strip()}")
    assert json.loads(as_json)["digest"] == out.strip()


@pytest.mark.parametrize(
    ("reference", "code", "text"),
    [
        ("127.0.0.1:1/a:1", 69, "cannot be reached"),
        ("Upper/Case:1", 64, "upper-case"),
        ("oci:folder", 66, "there is no"),
        ("dockerd://debian:12", 64, "docker save"),
        ("a b", 64, "character"),
    ],
)
def test_resolve_fails_with_one_line(store: Path, reference: str, code: int, text: str) -> None:
    found, out, err = run("resolve", "--wire", reference, store=store)

    assert (found, out) == (code, "")
    assert err.startswith("hpcbox: ")
    assert err.count("\n") == 1
    assert text in err


def test_resolve_names_an_image_that_is_not_there(registry: Registry, store: Path) -> None:
    code, _, err = run("resolve", "--wire", f"{registry.address}/nope:1", store=store)

    assert code == 66
    assert "nope:1" in err


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault(trickle=10), "gave no answer within 4.5 seconds"),
        (Fault(status=429, headers={"Retry-After": "30"}), "asks to wait 30 s"),
        (Fault(status=503), "answers with error 503"),
    ],
)
def test_resolve_does_not_wait_longer_than_the_plugin(store: Path, fault: Fault, text: str) -> None:
    with BadRegistry() as registry:
        push_image(registry, "a/b:1", LAYER)
        registry.spoil("manifests", fault)
        process = hpcbox("resolve", "--wire", f"{registry.address}/a/b:1", store=store)
        code, out, err = finish(process, timeout=15)

    assert (code, out) == (69, "")
    assert text in err
    assert len(err.splitlines()) == 1
