"""A registry for the tests of the store: one process for all of them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.bad_registry import BadRegistry
from tests.services.registry import Registry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The real docker-registry."""
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def bad_registry() -> Iterator[BadRegistry]:
    """A registry that misbehaves as the test says."""
    with BadRegistry() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The path of a store that doesn't exist yet."""
    return tmp_path / "store"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may enter.

    Not below pytest's own: each pytest that starts on this machine closes that to others.
    """
    with tempfile.TemporaryDirectory(prefix="hpcbox-test-", ignore_cleanup_errors=True) as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path
