"""The manifest of weights: read, check, find. No network, no torch."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .utils.files import atomic_write

PACKAGE = Path(__file__).parent
BUNDLED = PACKAGE / "bundled"
MANIFEST = "weights_manifest.json"


@dataclass(frozen=True)
class PretrainedCfg:
    """A set of weights and everything needed to use it: an entry of the manifest, or the header of a checkpoint.

    ``mean`` and ``std`` are of pixels in [0, 1]. ``sources`` are tried in order: ``bundled:FILE`` in the package,
    ``hf-hub:org/repo@<40-hex commit>/FILE``, ``https://HOST/FILE``. ``metrics`` holds measured figures, each with its
    protocol. ``format_version`` tells which names the tensors have: :mod:`gatezoo.weights.conversions`.
    """

    architecture: str
    tag: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    in_chans: int = 3
    interpolation: str = "bilinear"
    ignore_index: int = 255
    file: str = ""
    size: int = 0
    sha256: str = ""
    keys_sha256: str = ""
    sources: tuple[str, ...] = ()
    train_data: str = ""
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    command: str = ""
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    license: str = ""
    data_license: str = ""
    format_version: int = 1

    @property
    def name(self) -> str:
        return f"{self.architecture}.{self.tag}"

    @classmethod
    def from_dict(cls, name: str, entry: Mapping[str, Any]) -> PretrainedCfg:
        """An entry of the manifest, ``name.tag: {...}``, in which every field must be told (but ``format_version``: 1).

        Raises:
            ValueError: a field is missing or unknown, or does not fit.
        """
        architecture, _, tag = name.partition(".")
        wanted = {field.name for field in dataclasses.fields(cls)} - {"architecture", "tag", "format_version"}
        missing, unknown = sorted(wanted - set(entry)), sorted(set(entry) - wanted - {"format_version"})
        if missing or unknown:
            raise ValueError(
                f"entry {name!r} of the manifest must have all known fields; missing {missing}, unknown {unknown}"
            )
        cfg = cls(architecture, tag, **{key: _freeze(value) for key, value in entry.items()})
        if not (tag and cfg.license and cfg.sources and len(cfg.sha256) == 64):
            raise ValueError(f"entry {name!r} of the manifest must have a tag, a licence, sources and a sha256")
        if not len(cfg.class_names) == len(cfg.palette) == cfg.num_classes:
            raise ValueError(f"entry {name!r} of the manifest must have {cfg.num_classes} class names and colours")
        return cfg

    @classmethod
    def from_config(cls, architecture: str, about: Mapping[str, Any], source: str) -> PretrainedCfg:
        """The entry that a model folder's checked configuration tells; what it leaves out has its default."""
        return cls(architecture, "local", sources=(source,), **{key: _freeze(value) for key, value in about.items()})

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return dataclasses.asdict(self)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


def manifest_path() -> Path:
    """The manifest: inside an installed package, one folder up in a checkout."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / MANIFEST).is_file():
            return folder / MANIFEST
    raise ValueError(f"the package is incomplete: no {MANIFEST} in {PACKAGE}; reinstall gatezoo")


@functools.cache
def manifest() -> dict[str, PretrainedCfg]:
    """All entries by ``name.tag``, in the order of the file: the first tag of a name is its default."""
    entries = json.loads(manifest_path().read_text(encoding="utf-8"))["weights"]
    return {name: PretrainedCfg.from_dict(name, entry) for name, entry in entries.items()}


def of_architecture(architecture: str) -> list[PretrainedCfg]:
    """Entries of a model, the default first."""
    return [cfg for cfg in manifest().values() if cfg.architecture == architecture]


def replace_entry(path: Path, cfg: PretrainedCfg) -> None:
    """Write an entry into a manifest, in its place or as the last one.

    Raises:
        ValueError: a manifest that cannot be read or written.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = told["weights"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"a manifest must be JSON that holds weights; {path} does not: {error}") from None
    fields = {key: value for key, value in cfg.to_dict().items() if key not in ("architecture", "tag")}
    entries[cfg.name] = fields
    atomic_write(path, lambda beside: beside.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n"))
    manifest.cache_clear()
