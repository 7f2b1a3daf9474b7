"""Readers of MATLAB files, up to version 7.2 (scipy) and of version 7.3 (h5py), packages of the ``data`` extra.

A map inside a version 7.3 file has a path as if the file were a folder: ``FILE.mat/12`` is the map with index 12.
"""

from __future__ import annotations

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.optional import require_package


def read_mat(path: Path, key: str) -> Any:
    """Read a variable of a MATLAB file of version 7.2 or older.

    Args:
        path: the file.
        key: name of the variable, or of a field of a structure, such as "GTcls.Segmentation".

    Raises:
        ValueError: no such file or variable, or not a MATLAB file.
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
    except Exception as error:  # scipy has no specific error for a truncated file or another format
        raise ValueError(f"the MATLAB file {path} cannot be read: {error}") from None
    return value


def mat_file(key: str) -> partial[np.ndarray]:
    """Make a decoder of the label map (H, W) under ``key`` of a MATLAB file."""
    return partial(read_mat, key=key)


@lru_cache(maxsize=8)
def _open_in_process(path: Path, process: int) -> Any:
    h5py = require_package("h5py", "MATLAB files of version 7.3")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"the MATLAB file {path} cannot be read: {error}") from None


def open_hdf5(path: Path) -> Any:
    """Open a version 7.3 file and keep it open. Each process has its own handle: HDF5 does not survive a fork."""
    return _open_in_process(path, os.getpid())


def hdf5_map(path: Path, name: str) -> np.ndarray:
    """Read the map (H, W) at ``FILE.mat/INDEX`` of the variable ``name``, transposed: MATLAB stores columns first."""
    return np.ascontiguousarray(open_hdf5(path.parent)[name][int(path.name)].T)


def hdf5_cell(path: Path, name: str) -> np.ndarray:
    """Read a map as :func:`hdf5_map` does, from a variable that is a list of references to maps."""
    file = open_hdf5(path.parent)
    return np.ascontiguousarray(file[np.ravel(file[name][int(path.name)])[0]][()].T)
