"""The order in which an unrolled network runs its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from ..gates.base import BlockFeedback, Feedback

# Maps [f_0, ..., f_n] of a pass, and the gates {i: gate} that made them.
Pass = tuple[list[Tensor], dict[int, Tensor]]


@dataclass(frozen=True)
class Blocks:
    """What an order works with.

    Attributes:
        run: ``run(i, x)`` is block i on x.
        count: n, the number of blocks; block n gives the logits.
        feedback: makes gates of maps.
        call: ``call(function, *arguments)``, which may keep its activations or recompute them.
    """

    run: Callable[[int, Tensor], Tensor]
    count: int
    feedback: Feedback
    call: Callable

    def upwards(self, maps: list[Tensor], gates: dict[int, Tensor]) -> list[Tensor]:
        """Run the blocks above the maps given, each on its gated input."""
        maps = list(maps)
        for block in range(len(maps), self.count + 1):
            maps.append(self.gated(block, maps[-1], gates.get(block)))
        return maps

    def gated(self, block: int, x: Tensor, gate: Tensor | None) -> Tensor:
        """A block on its input, which its gate changes first if it has one."""
        return self.run(block, x if gate is None else self.feedback.modulate(gate, x))


def parallel(blocks: Blocks, image: Tensor, iterations: int) -> Iterator[Pass]:
    """Whole passes, one after the other: the gates of a pass come from the maps of the pass before.

    ::

        pass 1:  f_0 = image;  f_i = block_i(f_{i-1})
        pass t:  gates = feedback([f_0 .. f_n]);  f_i = block_i(gate_i applied to f_{i-1}), i = shallowest .. n

    Maps below the shallowest gated block do not change, and are not computed again. Yields every pass.
    """

    def again(maps: list[Tensor]) -> Pass:
        gates = blocks.feedback(maps)
        return blocks.upwards(maps[: blocks.feedback.shallowest], gates), gates

    maps = blocks.call(blocks.upwards, [image], {})
    yield maps, {}
    for _ in range(iterations - 1):
        maps, gates = blocks.call(again, maps)
        yield maps, gates


def sequential(blocks: Blocks, image: Tensor, iterations: int) -> Iterator[Pass]:
    """One pass in which every gated block repeats itself before the next one starts (RIGNet, Sec. 3.3.1).

    ::

        y = block_i(f_{i-1});  iterations - 1 times  y = block_i(gate_i(y) applied to f_{i-1});  f_i = y

    Yields after every repetition of block n, if that is gated; else once.
    """
    feedback = blocks.feedback
    if not isinstance(feedback, BlockFeedback):
        raise ValueError("a sequential unroll needs gates that see their own block alone: choose the parallel one")

    def again(block: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        gate = feedback.gate(block, y, x.shape[-2:])
        return blocks.gated(block, x, gate), gate

    maps, gates = [image], {}
    for block in range(1, blocks.count + 1):
        x = maps[-1]
        y = blocks.call(blocks.run, block, x)
        for _ in range(iterations - 1 if block in feedback.blocks else 0):
            if block == blocks.count:
                yield [*maps, y], dict(gates)
            y, gates[block] = blocks.call(again, block, x, y)
        maps.append(y)
    yield maps, gates


UNROLLS = {"parallel": parallel, "sequential": sequential}
