"""What mpiexec.hydra prints for a launcher, whole, cut, and forged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbox.errors import LaunchRefused
from hpcbox.ranks.hydra import LaunchLines, Proxy, words_for_people

# As MPICH 4.0.2 prints it.
PROXY = "/usr/bin/hydra_pmi_proxy --control-port 10.77.0.11:40341 --rmk user --launcher manual"
PRINTED = (
    f"HYDRA_LAUNCH: {PROXY} --proxy-id 0\nHYDRA_LAUNCH: {PROXY} --proxy-id 1\n"
    "HYDRA_LAUNCH_END\nHYDRA_LAUNCH: of a rank\n"
).encode()


@given(cut=st.integers(1, 200))
def test_the_proxies_come_out_and_the_rest_is_for_people(cut: int) -> None:
    lines = LaunchLines(2)
    proxies: list[Proxy] = []
    rest = b""

    for start in range(0, len(PRINTED), cut):
        found, passed = lines.feed(PRINTED[start : start + cut])
        proxies += found
        rest += passed

    assert [proxy.number for proxy in proxies] == [0, 1]
    assert proxies[1].words == (*PROXY.split(), "--proxy-id", "1")
    assert rest == b"HYDRA_LAUNCH: of a rank\n"


@pytest.mark.parametrize(
    "line",
    [
        "/bin/rm -rf / --proxy-id 0",
        f"{PROXY} --proxy-id 2",
        f"{PROXY} --proxy-id -1",
        f"{PROXY}",
        "",
    ],
)
def test_a_line_that_asks_for_something_else_is_refused(line: str) -> None:
    with pytest.raises(LaunchRefused):
        LaunchLines(2).feed(f"HYDRA_LAUNCH: {line}\n".encode())


def test_a_proxy_is_started_once() -> None:
    lines = LaunchLines(2)
    line = f"HYDRA_LAUNCH: {PROXY} --proxy-id 0\n".encode()
    lines.feed(line)

    with pytest.raises(LaunchRefused):
        lines.feed(line)


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(LaunchRefused):
        LaunchLines(1).feed(b"x" * 20_000)


@given(printed=st.binary(max_size=200))
def test_any_noise_gives_words_or_nothing(printed: bytes) -> None:
    assert "\n\n" not in words_for_people(printed)
