"""Choose the device that a network runs on."""

from __future__ import annotations

import logging
import os

import torch

_log = logging.getLogger("gatezoo")


def resolve_device(device: str | torch.device | None = "auto") -> torch.device:
    """Return the device of this process, after a check that it exists.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps", ...; "auto" or None: the first of CUDA, MPS and CPU that is there.
            Under ``torchrun``, "cuda" (and "auto") is the GPU with the process's number on its machine.

    Raises:
        ValueError: not the name of a device, or one that this machine does not have.
    """
    if device is None or device == "auto":
        device = next((kind for kind in ("cuda", "mps") if _count(kind)), "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device must be auto, cpu, cuda, cuda:1 or mps; got {device!r}: pass one of these") from None
    count = _count(found.type)
    if found.type == "cuda" and found.index is None and count and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if (found.index or 0) >= count:
        there = ", ".join(f"{_count(kind)} {kind}" for kind in ("cuda", "mps") if _count(kind))
        raise ValueError(
            f"device must be one of this machine's: cpu{f', {there}' if there else ' alone'}; got {device}: pass auto"
        )
    return found


def _count(kind: str) -> int:
    """Return the number of devices of a kind that this machine has and torch can use."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return torch.cuda.device_count() if kind == "cuda" else 0


def describe_device(device: torch.device) -> str:
    """Return a device with its name, such as "cuda:0 (NVIDIA H100)" or "cpu (2 threads)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def log_device(device: torch.device) -> None:
    """Log the line that tells which device a command runs on."""
    _log.info("running on %s", describe_device(device))
