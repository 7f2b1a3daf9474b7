"""Read, check and search the manifest of pretrained weights. No network access and no torch."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .utils.files import write_json

PACKAGE = Path(__file__).parent
BUNDLED = PACKAGE / "bundled"
MANIFEST = "weights_manifest.json"

# Keys that files of format 1 and 2 have, and their names since format 3.
RENAMED_METADATA = {"model": "architecture", "record": "history"}
RENAMED_MODEL_KWARGS = {"dilate_entries": "dilate_stage_entries"}
RENAMED_RECIPE_FIELDS = {
    "crop": "crop_size",
    "scale": "scale_range",
    "new_lr_factor": "head_lr_mult",
    "pass_loss": "iteration_loss_weight",
    "aux_loss": "aux_loss_weight",
    "label_loss": "seg_loss_weight",
    "depth_loss": "depth_loss_weight",
    "scale_loss": "scale_loss_weight",
    "train_only": "trainable_prefix",
    "amp": "amp_dtype",
    "eval_every": "eval_interval",
    "recovery_interval": "checkpoint_interval",
}
# Fields of PretrainedCfg that the metadata of a checkpoint may give.
_CHECKPOINT_FIELDS = (
    "num_classes",
    "mean",
    "std",
    "class_names",
    "palette",
    "in_chans",
    "ignore_index",
    "recipe",
    "versions",
    "format_version",
    "train_data",
    "license",
    "data_license",
    "command",
    "base_model",
    "label_format",
    "image_max",
)
# Fields that entries of a manifest may lack.
_OPTIONAL_FIELDS = {"format_version", "base_model", "label_format", "image_max"}


@dataclass(frozen=True)
class PretrainedCfg:
    """Pretrained weights and everything needed to use them: a manifest entry, or the metadata of a checkpoint.

    Attributes:
        architecture: name of the model.
        tag: distinguishes weights of one model; "local" for those that are not in the manifest.
        mean, std: of pixels in [0, 1].
        sources: tried in order: ``bundled:FILE`` in the package, ``hf-hub:org/repo@<40-hex commit>/FILE``,
            ``https://HOST/FILE``.
        keys_sha256: digest of the names and shapes of the tensors.
        recipe: fields of :class:`gatezoo.recipes.Recipe` that the weights were trained with.
        command: the command that trained the weights.
        base_model: weights that the training started from, with their license and training data.
        label_format: encoding of the classes in the label files of the training data, as
            :meth:`gatezoo.data.label_format.LabelFormat.to_dict` gives it; {} for index PNGs.
        image_max: value of full brightness in the image files of the training data; None for that of their type.
        metrics: scores in [0, 1], depth errors, and the protocol they were measured with.
        format_version: version of the tensors' names, see :mod:`gatezoo.weights.conversions`.
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
    base_model: str = ""
    label_format: dict[str, Any] = dataclasses.field(default_factory=dict)
    image_max: float | None = None
    format_version: int = 1

    @property
    def name(self) -> str:
        """``architecture.tag``."""
        return f"{self.architecture}.{self.tag}"

    @classmethod
    def from_dict(cls, name: str, entry: Mapping[str, Any]) -> PretrainedCfg:
        """Return the config of a manifest entry, ``name.tag: {...}``.

        Every field is required but those that older manifests lack, such as ``format_version``, whose default is 1.

        Raises:
            ValueError: a field is missing, unknown or inconsistent.
        """
        architecture, _, tag = name.partition(".")
        required = {field.name for field in dataclasses.fields(cls)} - {"architecture", "tag"} - _OPTIONAL_FIELDS
        missing, unknown = sorted(required - set(entry)), sorted(set(entry) - required - _OPTIONAL_FIELDS)
        if missing or unknown:
            raise ValueError(
                f"entry {name!r} of the manifest must have all known fields; missing {missing}, unknown {unknown}"
            )
        cfg = cls(architecture, tag, **_freeze_fields(entry))
        if not (tag and cfg.license and cfg.sources and len(cfg.sha256) == 64):
            raise ValueError(f"entry {name!r} of the manifest must have a tag, a license, sources and a sha256")
        if not len(cfg.class_names) == len(cfg.palette) == cfg.num_classes:
            raise ValueError(f"entry {name!r} of the manifest must have {cfg.num_classes} class names and colors")
        return cfg

    @classmethod
    def from_config(cls, architecture: str, fields: Mapping[str, Any], source: str) -> PretrainedCfg:
        """Return the config of a model folder, from the checked fields of its ``config.json``; others have defaults."""
        return cls(architecture, "local", sources=(source,), **_freeze_fields(fields))

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, metadata: Mapping[str, Any], fallback: PretrainedCfg | None = None
    ) -> PretrainedCfg | None:
        """Return the config of a trained checkpoint, from the metadata in its header.

        Args:
            path: of the checkpoint.
            metadata: of any format version; see :func:`upgrade_metadata`.
            fallback: returned for a checkpoint without metadata: the config of the weights it replaces.
        """
        metadata = upgrade_metadata(metadata)
        if "architecture" not in metadata:
            return fallback
        fields = {key: metadata[key] for key in _CHECKPOINT_FIELDS if key in metadata}
        return cls(architecture=metadata["architecture"], tag="local", file=str(path), **fields)

    def describe_as_base(self) -> str:
        """Return what weights that start from these must name: their source, license and training data.

        Local weights that have a base model themselves pass it on: its license binds all that follow.
        """
        if self.tag == "local" and self.base_model:
            return self.base_model
        hub = next((source.rpartition("/")[0] for source in self.sources if source.startswith("hf-hub:")), "")
        data = f"{self.train_data or 'unknown data'} ({self.data_license or 'unknown license'})"
        name = hub if hub and self.tag == "local" else self.name
        return f"{name}, license {self.license or 'unknown'}, trained on {data}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data."""
        return dataclasses.asdict(self)


def upgrade_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored recipe of any format version under the present names of its fields."""
    upgraded = {RENAMED_RECIPE_FIELDS.get(key, key): value for key, value in recipe.items()}
    # The first version had a switch for bfloat16.
    if isinstance(amp := upgraded.get("amp_dtype"), bool):
        upgraded["amp_dtype"] = "bf16" if amp else "none"
    return upgraded


def upgrade_model_kwargs(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored keywords of a builder, of any format version, under their present names."""
    return {RENAMED_MODEL_KWARGS.get(key, key): value for key, value in model_kwargs.items()}


def upgrade_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return checkpoint metadata of any format version under its present keys."""
    upgraded = {RENAMED_METADATA.get(key, key): value for key, value in metadata.items()}
    for key, upgrade in (("recipe", upgrade_recipe), ("model_kwargs", upgrade_model_kwargs)):
        if isinstance(upgraded.get(key), Mapping):
            upgraded[key] = upgrade(upgraded[key])
    return upgraded


def _freeze_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    frozen = {key: _freeze(value) for key, value in fields.items()}
    if "recipe" in frozen:
        frozen["recipe"] = upgrade_recipe(frozen["recipe"])
    return frozen


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


def manifest_path() -> Path:
    """Return the path of the manifest: in an installed package inside it, in a checkout one folder up."""
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / MANIFEST).is_file():
            return folder / MANIFEST
    raise ValueError(f"the package must be complete; {PACKAGE} has no {MANIFEST}: reinstall gatezoo")


@functools.cache
def manifest() -> dict[str, PretrainedCfg]:
    """Return all entries by ``name.tag``, in the order of the file: the first tag of a name is its default."""
    entries = json.loads(manifest_path().read_text(encoding="utf-8"))["weights"]
    return {name: PretrainedCfg.from_dict(name, entry) for name, entry in entries.items()}


def of_architecture(architecture: str) -> list[PretrainedCfg]:
    """Return the entries of a model, the default first."""
    return [cfg for cfg in manifest().values() if cfg.architecture == architecture]


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the content of a manifest, with the entries under "weights".

    Raises:
        ValueError: a file that cannot be read, or is no manifest.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["weights"], dict):
            raise TypeError("'weights' is no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"a manifest must be JSON with the key 'weights'; {path} is not: {error}") from None
    return content


def replace_entry(path: Path, cfg: PretrainedCfg) -> None:
    """Write an entry into a manifest: in the place of the entry of this name, else as the last one.

    Empty fields that entries may lack are left out.

    Raises:
        ValueError: a manifest that cannot be read or written.
    """
    content = read_manifest(path)
    entries = content["weights"]
    fields = {key: value for key, value in cfg.to_dict().items() if value or key not in _OPTIONAL_FIELDS}
    entries[cfg.name] = {key: value for key, value in fields.items() if key not in ("architecture", "tag")}
    write_json(path, content)
    manifest.cache_clear()
