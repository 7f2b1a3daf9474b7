"""Records of many images in one array: of Python objects, each worker of a loader would soon have its own copy."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np


class PackedRecords:
    """Sequence of anything that can be pickled, kept in one array and unpacked one by one."""

    def __init__(self, records: Iterable[Any]):
        packed = [pickle.dumps(record) for record in records]
        self._ends = np.cumsum([0] + [len(item) for item in packed])
        self._packed = np.frombuffer(b"".join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Any:
        return pickle.loads(self._packed[self._ends[index] : self._ends[index + 1]].tobytes())
