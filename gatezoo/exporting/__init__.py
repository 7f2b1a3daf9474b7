"""Export networks to files that other programs run, and check their numbers."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .export import export
    from .report import ExportReport

__getattr__, __dir__ = lazy_exports(__name__, {"ExportReport": "report", "export": "export"})

__all__ = ["ExportReport", "export"]
