"""What the fuzzers begin with, and a little of what they would make of it, breaks no promise."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.spec import REPOSITORY

TARGETS = sorted(
    path.stem.removeprefix("fuzz_") for path in Path(REPOSITORY, "contrib/fuzz").glob("fuzz_*.py")
)


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "contrib/fuzz"))


def target(name: str) -> Any:
    return importlib.import_module(f"fuzz_{name}").TARGET


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.usefixtures("targets")
def test_the_seeds_of_the_fuzzers_break_no_promise(name: str) -> None:
    seeds = target(name).seeds()

    for seed in seeds:
        target(name).check(seed)

    assert len(seeds) >= 5


@pytest.mark.parametrize("name", TARGETS)
@settings(
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.binary(max_size=200))
@pytest.mark.usefixtures("targets")
def test_any_bytes_break_no_promise(name: str, content: bytes) -> None:
    target(name).check(content)
