from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.spec import cache_root

if TYPE_CHECKING:
    from pathlib import Path


def storage() -> Path:
    return cache_root() / "registry"


def ensure() -> None:
    pass
