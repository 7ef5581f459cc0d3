"""Node lists: our reading of them against Slurm's own, and there and back."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.cluster.node_list import compress, expand
from hpcbox.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.lists(st.from_regex(r"\A(n|gpu|node-a|r1n)[0-9]{0,4}(-ib)?\Z"), max_size=40)


@pytest.mark.parametrize(
    ("node_list", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[1-3,07-09]", ("n1", "n2", "n3", "n07", "n08", "n09")),
        ("n[1-2]-x,gpu[09-10]", ("n1-x", "n2-x", "gpu09", "gpu10")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
    ],
)
def test_a_node_list_stands_for_its_names_in_order(node_list: str, names: tuple[str, ...]) -> None:
    assert expand(node_list) == names


@given(NAMES)
def test_names_come_back_from_the_list_they_make(names: list[str]) -> None:
    found = expand(compress(names))

    assert sorted(found) == sorted(set(names))


@given(st.text(alphabet="n[]-,0123456789x", max_size=30))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    with contextlib.suppress(RequestError):
        assert len(expand(text, limit=1000)) <= 1000


@pytest.mark.parametrize(
    "node_list",
    ["n[1-", "n]1[", "n[a]", "n[3-1]", "n[]", "n[[1]]", "n[1-9999999999999999999]"]
    + ["x[0-9][0-9][0-9][0-9][0-9][0-9]", "x" + "[1]" * 9, "n[0-999999999999999999]"],
)
def test_a_list_that_is_none_or_has_no_end_is_refused(node_list: str) -> None:
    with pytest.raises(RequestError):
        expand(node_list)


@pytest.mark.lab
def test_slurm_reads_our_lists_as_we_do(alice_path: Path) -> None:
    names = ["n1", "n2", "n3", "n9", "n10", "n09", "n010", "gpu-a", "gpu-a7", "x", "n0", "n00"]
    ours = compress(names)

    done = subprocess.run(
        [alice_path / "scontrol", "show", "hostnames", ours],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == list(expand(ours))
    assert set(done.stdout.split()) == set(names)
