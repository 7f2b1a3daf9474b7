"""MATLAB files, old (scipy) and version 7.3 (h5py). Both packages come with the ``data`` extra.

A map inside a version 7.3 file is addressed as if the file were a folder: ``FILE.mat/12`` is the one with index 12.
"""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.optional import require_package


def read_mat(path: Path, key: str) -> Any:
    """A variable of a MATLAB file of version 7.2 or older; ``key`` may lead into structures: "GTcls.Segmentation".

    Raises:
        ValueError: no such file or variable, or not such a file.
    """
    scipy_io = require_package("scipy.io", "MATLAB files")
    name, *fields = key.split(".")
    try:
        value = scipy_io.loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=[name])[name]
        for field in fields:
            value = getattr(value, field)
    except FileNotFoundError:
        raise ValueError(f"labels must be a file; there is none at {path}") from None
    except (KeyError, AttributeError):
        raise ValueError(f"the file must hold the variable {key}; {path} does not") from None
    except Exception as error:  # scipy has no error of its own for a file that is cut short or of another format
        raise ValueError(f"the MATLAB file {path} cannot be read: {error}") from None
    return value


def mat_file(key: str) -> partial:
    """Decoder of labels: the array under ``key`` of a MATLAB file, (H, W)."""
    return partial(read_mat, key=key)


@lru_cache(maxsize=8)
def _opened(path: Path, process: int):
    h5py = require_package("h5py", "MATLAB files of version 7.3")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"the MATLAB file {path} cannot be read: {error}") from None


def open_hdf5(path: Path):
    """A version 7.3 file, kept open. One handle a process: HDF5 does not survive a fork."""
    return _opened(path, os.getpid())


def hdf5_map(place: Path, name: str) -> np.ndarray:
    """Map (H, W) of the variable ``name``, at ``FILE.mat/INDEX``. MATLAB stores columns first: turned here."""
    return np.ascontiguousarray(open_hdf5(place.parent)[name][int(place.name)].T)


def hdf5_cell(place: Path, name: str) -> np.ndarray:
    """As :func:`hdf5_map`, where the variable is a list of references, one a map."""
    file = open_hdf5(place.parent)
    return np.ascontiguousarray(file[np.ravel(file[name][int(place.name)])[0]][()].T)
