from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.failure import LabError

if TYPE_CHECKING:
    from pathlib import Path


def ensure(*, shim: bool) -> Path:
    raise LabError("not yet")
