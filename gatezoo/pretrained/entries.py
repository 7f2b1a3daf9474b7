"""Find, read and write the manifest: the entries of all published weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..utils.files import write_json
from .cfg import PretrainedCfg
from .rules import read_json

PACKAGE = Path(__file__).parent.parent
BUNDLED = PACKAGE / "bundled"
MANIFEST = "weights_manifest.json"


def manifest_path() -> Path:
    """Return the path of the manifest: in an installed package inside it, in a checkout one folder up."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / MANIFEST).is_file():
            return folder / MANIFEST
    raise ValueError(f"the package must be complete; {PACKAGE} has no {MANIFEST}: reinstall gatezoo")


@functools.cache
def manifest() -> dict[str, PretrainedCfg]:
    """Return all entries by ``name.tag``, in the order of the file: the first tag of a name is its default."""
    return read_entries(read_manifest(manifest_path())["weights"])


def read_entries(entries: Mapping[str, Any]) -> dict[str, PretrainedCfg]:
    """Return the configs of entries that are not trusted, by ``name.tag``.

    Raises:
        ValueError: one that is not valid.
    """
    return {name: PretrainedCfg.from_dict(name, entry) for name, entry in entries.items()}


def of_architecture(architecture: str) -> list[PretrainedCfg]:
    """Return the entries of a model, the default first."""
    return [cfg for cfg in manifest().values() if cfg.architecture == architecture]


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the content of a manifest, with the entries under "weights".

    Raises:
        ValueError: a file that cannot be read, is no manifest, or has an entry that is not valid.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("weights"), dict):
            raise ValueError("it has no object of this name")
        read_entries(content["weights"])
    except (OSError, ValueError) as error:
        raise ValueError(f"a manifest must be JSON with the key 'weights'; {path} is not: {error}") from None
    return content


def replace_entry(path: Path, cfg: PretrainedCfg) -> None:
    """Write an entry into a manifest: in the place of the entry of this name, else as the last one.

    Raises:
        ValueError: a manifest that cannot be read or written, or an entry that could not be read back.
    """
    content = read_manifest(path)
    content["weights"][cfg.name] = cfg.to_dict()
    read_entries({cfg.name: cfg.to_dict()})
    write_json(path, content)
    manifest.cache_clear()
