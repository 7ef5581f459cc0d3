"""Hooks for all tests."""

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.services.reachable import open_way


def pytest_configure() -> None:
    """Give the programs under test the signals of a terminal's programs, however this started.

    What a script starts in the background ignores SIGINT and SIGQUIT, and so do its children. And
    all accounts of the tests can reach the checkout.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if os.geteuid() == 0:
        open_way(Path(__file__))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take one cluster stand together, so that it starts once."""
    items.sort(key=lambda item: "cluster" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one: here everything that a test needs is installed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report
