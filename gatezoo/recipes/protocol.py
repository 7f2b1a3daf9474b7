"""How the networks of an experiment are evaluated, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..utils.choices import check_choice, check_fields
from ..utils.keyword_types import check_keyword

# No side of a network's input is shorter, see gatezoo.utils.images.
_MIN_SIZE = 32


@dataclass(frozen=True)
class EvalProtocol:
    """What is done with every image of an evaluation, and with the passes of an unrolled network.

    The defaults are those of an evaluation without options: whole images at their own size, once. An image is padded
    first, then scaled and mirrored, then cut into windows.

    Attributes:
        scales: of the image, whose probabilities are averaged.
        flip: whether to average over mirror images too.
        window_size: side of the windows that each scaled image is cut into, in pixels; None: none.
        window_overlap: share of a window's side that the next one has in common with it; None: half.
        pad_to: side of the square to which smaller images are padded with the mean color, at the right and below, in
            pixels; None: none.
        merge: "max" or "mean" to merge the probabilities of all passes; empty: those of the last pass.
        iterations: number of passes; "auto": until a pass changes little; None: the network's own.
        depth_blur: standard deviation, in pixels, of a Gaussian that smooths predicted depth.
        components: CLASS, or CLASS+OTHER, whose connected components are scored as instances; empty: none.

    Raises:
        ValueError: a field of another type or out of range, or fields that contradict each other.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    window_size: int | None = None
    window_overlap: float | None = None
    pad_to: int | None = None
    merge: str = ""
    iterations: int | Literal["auto"] | None = None
    depth_blur: float = 0.0
    components: str = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_keyword(field.name, getattr(self, field.name), field.type)
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales must be positive numbers, at least one; got {list(self.scales)}: pass 0.5,1,1.5")
        for name in ("window_size", "pad_to"):
            side = getattr(self, name)
            if side is not None and side <= _MIN_SIZE:
                raise ValueError(f"{name} must be a number of pixels larger than {_MIN_SIZE}; got {side}: 513 is usual")
        if self.window_overlap is not None:
            if self.window_size is None:
                raise ValueError(
                    f"overlap requires a window; got overlap {self.window_overlap} without one: pass --window-size 512"
                )
            if not 0 <= self.window_overlap < 1:
                raise ValueError(f"window_overlap must be from 0 and below 1; got {self.window_overlap}: 0.5 is usual")
        if isinstance(self.iterations, int) and self.iterations < 1:
            raise ValueError(f"iterations must be a number of passes, at least 1; got {self.iterations}: leave it out")
        if not 0 <= self.depth_blur < math.inf:
            raise ValueError(f"depth_blur must be a number of pixels, 0 or more; got {self.depth_blur}: leave it out")
        if self.merge:
            check_choice("merge", self.merge, ("max", "mean"))
            others = [name for name in ("flip", "window_size", "pad_to") if getattr(self, name)]
            others += ["several scales"] * (len(self.scales) > 1)
            if others:
                raise ValueError(
                    f"merge must come with whole images at one scale; got merge={self.merge!r} with {others[0]}: "
                    "leave one of them out"
                )

    def changes(self) -> dict[str, Any]:
        """Return the fields that are not the defaults."""
        default = EvalProtocol.__dataclass_fields__
        return {name: getattr(self, name) for name, field in default.items() if getattr(self, name) != field.default}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EvalProtocol:
        """Return the protocol of plain data, such as YAML.

        Raises:
            ValueError: a field that does not exist, or a value that the class refuses.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"a protocol must be a dict of its fields; got {values!r}")
        check_fields("a protocol", values, (field.name for field in dataclasses.fields(cls)))
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)
