"""Heads: maps of a backbone -> coarse logits. They are called with one argument per map, finest first."""

from .aspp import ASPPHead
from .create import SINGLE_MAP_HEADS, make_head
from .fcn import FCNHead, LinearHead

__all__ = ["SINGLE_MAP_HEADS", "ASPPHead", "FCNHead", "LinearHead", "make_head"]
