"""Names of output files, by srun's patterns."""

from __future__ import annotations

import pytest

from hpcbox.errors import RequestError
from hpcbox.ranks import delivery
from hpcbox.ranks.plan import LaunchPlan

PLAN = LaunchPlan(
    job="12",
    step="ssh0",
    nodes=("n1",),
    tasks=1,
    command=("true",),
    environment={},
    cwd="/",
    user="alice",
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("out.%t", "out.5"),
        ("out.%3t", "out.005"),
        ("%j-%J-%s", "12-12.ssh0-ssh0"),
        ("%N/%u/100%%", "n3/alice/100%"),
        ("%4N", "n3"),
        ("plain", "plain"),
    ],
)
def test_a_pattern_names_a_file_a_rank(pattern: str, expected: str) -> None:
    assert delivery.expand(pattern, PLAN, 5, "n3") == expected


@pytest.mark.parametrize("pattern", ["%x", "out%", "%3", "%-t"])
def test_an_unknown_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(RequestError, match="is unknown"):
        delivery.expand(pattern, PLAN, 5, "n3")
