"""Fixtures that every test may use."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take one cluster stand together, so that it starts once."""
    items.sort(key=lambda item: "cluster" in getattr(item, "fixturenames", ()))
