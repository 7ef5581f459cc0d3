"""What is remembered of images: whole, or not at all."""

import json
from pathlib import Path

import pytest

from hpcbox.rootfs import known_mpi
from hpcbox.rootfs.mpi import MpiSupport
from hpcbox.rootfs.mpi_library import MPICH, PMI1, PMI2

DIGEST = "sha256:" + "5" * 64
SUPPORT = MpiSupport(
    family=MPICH,
    product=MPICH,
    version="4.2.1",
    pmi=(PMI1, PMI2),
    launchers={"mpiexec.hydra": "/usr/bin/mpiexec.hydra"},
    library="/usr/lib/libmpich.so.12.4.1",
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_what_was_remembered_is_recalled_as_it_was(environ: dict[str, str]) -> None:
    assert known_mpi.recall(DIGEST, environ) is None
    assert not known_mpi.has_any(environ)

    known_mpi.remember(DIGEST, (SUPPORT,), environ)
    known = known_mpi.recall(DIGEST, environ)

    assert known is not None
    assert [one.as_json() for one in known] == [SUPPORT.as_json()]
    assert known_mpi.has_any(environ)


def test_an_image_without_mpi_is_remembered_too(environ: dict[str, str]) -> None:
    known_mpi.remember(DIGEST, (), environ)

    assert known_mpi.recall(DIGEST, environ) == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": 2, "mpi": []}',
        '{"version": 1}',
        '{"version": 1, "mpi": [{"family": "Other"}]}',
        '{"version": 1, "mpi": [{"family": "MPICH", "pmi": 3}]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_says_nothing(environ: dict[str, str], tmp_path: Path, text: str) -> None:
    known_mpi.remember(DIGEST, (SUPPORT,), environ)
    (file,) = (tmp_path / ".cache/hpcbox/mpi").iterdir()
    file.write_text(text)

    assert known_mpi.recall(DIGEST, environ) is None


def test_kinds_that_nobody_knows_are_left_out(environ: dict[str, str], tmp_path: Path) -> None:
    known_mpi.remember(DIGEST, (SUPPORT,), environ)
    (file,) = (tmp_path / ".cache/hpcbox/mpi").iterdir()
    table = json.loads(file.read_text())
    table["mpi"][0]["pmi"] = ["pmi9", "pmi2"]
    file.write_text(json.dumps(table))

    known = known_mpi.recall(DIGEST, environ)

    assert known is not None
    assert known[0].pmi == (PMI2,)


def test_an_account_without_a_home_remembers_nothing(tmp_path: Path) -> None:
    known_mpi.remember(DIGEST, (SUPPORT,), {"HOME": f"{tmp_path}/none"})

    assert list(tmp_path.iterdir()) == []


def test_a_digest_that_is_none_names_no_file(environ: dict[str, str], tmp_path: Path) -> None:
    known_mpi.remember("sha256:../../x", (SUPPORT,), environ)

    assert known_mpi.recall("../../x", environ) is None
    assert list(tmp_path.rglob("*.json")) == []
