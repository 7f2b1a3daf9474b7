"""Versions of the packages that a result depends on, and a description of the machine for bug reports."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata

# They determine a network and its file: recorded in checkpoints, configs, reports and the manifest.
DISTRIBUTIONS = ("torch", "torchvision", "timm", "safetensors")
# Also shown in bug reports.
_OTHER_DISTRIBUTIONS = ("huggingface_hub", "numpy", "pillow", "accelerate", "torchmetrics")
_VARIABLES = ("GATEZOO_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of :data:`DISTRIBUTIONS` and of ``more``, without local parts such as ``+cu128``.

    Raises:
        importlib.metadata.PackageNotFoundError: a distribution is not installed.
    """
    return {name: metadata.version(name).split("+")[0] for name in (*DISTRIBUTIONS, *more)}


def describe_environment() -> dict[str, str]:
    """Return everything about Python, packages and devices that a bug report needs, and nothing secret."""
    import torch

    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "Python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _full_version(name) for name in (*DISTRIBUTIONS, *_OTHER_DISTRIBUTIONS)},
        "CUDA": f"{torch.version.cuda}, {', '.join(devices)}" if devices else "not available",
        "MPS": "available" if torch.backends.mps.is_available() else "not available",
        "CPU cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        **{name: _without_credentials(os.environ[name]) for name in _VARIABLES if name in os.environ},
    }


def _full_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _without_credentials(value: str) -> str:
    """Remove user and password, or a token in their place, and the query from a URL."""
    return re.sub(r"\?.*", "", re.sub(r"//[^/]*@", "//", value))
