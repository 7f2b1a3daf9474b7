"""Run the blocks of an unrolled network in parallel or in sequential order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..backbones.stages import Stages
from ..gates.base import BlockFeedback, Feedback

# Maps [f_0, ..., f_n] of a pass, and the gates {i: gate} that made them.
Pass = tuple[list[Tensor], dict[int, Tensor]]

# ``checkpoint_fn(function, *arguments)`` calls the function and keeps its activations, or recomputes them.
CheckpointFn = Callable[..., Any]


@dataclass(frozen=True)
class BlockChain:
    """Blocks 1 .. n of a network: blocks 1 .. n-1 are the backbone's, block n is the head and gives the logits."""

    backbone: Stages
    head: nn.Module

    def __len__(self) -> int:
        return len(self.backbone) + 1

    def run(self, block: int, x: Tensor) -> Tensor:
        """Run block number ``block`` on x."""
        return self.head(x) if block == len(self) else self.backbone.run(block, x)

    def run_gated(self, block: int, x: Tensor, gate: Tensor | None, feedback: Feedback) -> Tensor:
        """Run a block on its input, to which its gate is applied first if it has one."""
        return self.run(block, x if gate is None else feedback.modulate(gate, x))

    def run_from(self, maps: Sequence[Tensor], gates: Mapping[int, Tensor], feedback: Feedback) -> list[Tensor]:
        """Run the blocks above the given maps [f_0, ..., f_i], each on its gated input: -> [f_0, ..., f_n]."""
        maps = list(maps)
        for block in range(len(maps), len(self) + 1):
            maps.append(self.run_gated(block, maps[-1], gates.get(block), feedback))
        return maps


def parallel(
    chain: BlockChain, feedback: Feedback, image: Tensor, iterations: int, checkpoint_fn: CheckpointFn
) -> Iterator[Pass]:
    """Run whole passes, one after the other: the gates of a pass come from the maps of the pass before.

    ::

        pass 1:  f_0 = image;  f_i = block_i(f_{i-1})
        pass t:  gates = feedback([f_0 .. f_n]);  f_i = block_i(gate_i applied to f_{i-1}), i = shallowest .. n

    Maps below the shallowest gated block do not change, and are not computed again. Yields every pass.
    """

    def next_pass(maps: list[Tensor]) -> Pass:
        gates = feedback(maps)
        return chain.run_from(maps[: feedback.shallowest], gates, feedback), gates

    gates: dict[int, Tensor] = {}
    maps = checkpoint_fn(chain.run_from, [image], gates, feedback)
    yield maps, gates
    for _ in range(iterations - 1):
        maps, gates = checkpoint_fn(next_pass, maps)
        yield maps, gates


def sequential(
    chain: BlockChain, feedback: Feedback, image: Tensor, iterations: int, checkpoint_fn: CheckpointFn
) -> Iterator[Pass]:
    """Run one pass in which every gated block repeats itself before the next one starts (RIGNet, Sec. 3.3.1).

    ::

        y = block_i(f_{i-1});  iterations - 1 times  y = block_i(gate_i(y) applied to f_{i-1});  f_i = y

    Yields after every repetition of block n, if that is gated; else once.

    Raises:
        ValueError: gates that read more than the output of their own block.
    """
    if not isinstance(feedback, BlockFeedback):
        raise ValueError(
            "feedback of a sequential unroll must read each block's own output only; "
            f"got {type(feedback).__name__}: choose the parallel unroll"
        )

    def next_pass(block: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        gate = feedback.gate(block, y, x.shape[-2:])
        return chain.run_gated(block, x, gate, feedback), gate

    maps: list[Tensor] = [image]
    gates: dict[int, Tensor] = {}
    for block in range(1, len(chain) + 1):
        x = maps[-1]
        y = checkpoint_fn(chain.run, block, x)
        for _ in range(iterations - 1 if block in feedback.blocks else 0):
            if block == len(chain):
                yield [*maps, y], dict(gates)
            y, gates[block] = checkpoint_fn(next_pass, block, x, y)
        maps.append(y)
    yield maps, gates


UNROLLS: dict[str, Callable[[BlockChain, Feedback, Tensor, int, CheckpointFn], Iterator[Pass]]] = {
    "parallel": parallel,
    "sequential": sequential,
}
