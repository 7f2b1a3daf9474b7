"""A page to look at predictions, passes and gates in a browser; needs the extra ``app``."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .serve import serve

__getattr__, __dir__ = lazy_exports(__name__, {"serve": "serve"})

__all__ = ["serve"]
