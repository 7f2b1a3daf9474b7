"""Faults of the files of a data folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Issue:
    """An error or a warning about a file.

    Attributes:
        kind: issues of one kind have the same fix: "unreadable", "size", "ids", ...
        file: the file, or the folder if no single file is at fault.
        message: the fault and its fix.
        fatal: whether it is an error; else a warning.
    """

    kind: str
    file: Path
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.fatal else 'warning'}: {self.file}: {self.message}"


def raise_errors(issues: Iterable[Issue], root: Path) -> None:
    """Raise ValueError with the first error about a folder, its file and the number of errors, if there are any."""
    errors = [issue for issue in issues if issue.fatal]
    if errors:
        more = f" ({len(errors)} errors in all: gatezoo data check {root})" if len(errors) > 1 else ""
        raise ValueError(f"{errors[0].file}: {errors[0].message}{more}")
