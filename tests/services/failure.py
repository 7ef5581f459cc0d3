"""The one error of the lab's services (they stand outside hpcbox and its error tree)."""

from __future__ import annotations


class LabError(Exception):
    """The lab can't do what was asked; the text is one line that says what, why and what to do."""
