"""The record of pretrained weights: its fields with their rules, and all forms in which it is stored."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..utils.text import shorten
from .label_rules import check_label_format
from .rules import BOUNDS, Rule, is_text, match_source, matching, number, plain, refuse, rule, text, tuple_of, whole
from .upgrades import FORMAT_VERSION, check_version, upgrade_metadata, upgrade_recipe

if TYPE_CHECKING:
    from torchvision.transforms import v2

# The forms: header of a checkpoint, config.json of a model folder, entry of the manifest.
HEADER, CONFIG, ENTRY = "header", "config", "entry"
_ALL, _OF_FILE = (HEADER, CONFIG, ENTRY), (CONFIG, ENTRY)
# Fields of each form that must be there, and those that may not be empty. An entry lacks none but the optional ones.
_REQUIRED = {
    HEADER: {"architecture", "num_classes", "mean", "std"},
    CONFIG: {"num_classes", "mean", "std", "size", "sha256"},
}
_NOT_EMPTY = {
    CONFIG: ("size", "sha256"),
    ENTRY: ("license", "sources", "size", "sha256", "class_names", "palette"),
}
_OPTIONAL_IN_ENTRIES = {"format_version", "base_model", "label_format", "image_max"}
_TEXTS = rule(
    "an object of at most 200 printable texts",
    lambda value: isinstance(value, dict) and len(value) <= 200 and all(map(is_text, [*value, *value.values()])),
)
_DIGEST = matching("([0-9a-f]{64})?", "64 hex digits")


def _stored(rule: Rule, forms: Sequence[str] = _ALL) -> dict[str, Any]:
    """Return the metadata of a field: its rule and the forms that store it; in others the file's place tells it."""
    return {"rule": rule, "forms": forms}


def _field(rule: Rule, default: Any = dataclasses.MISSING, forms: Sequence[str] = _ALL) -> Any:
    return dataclasses.field(default=default, metadata=_stored(rule, forms))


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

    Raises:
        ValueError: a field that breaks its rule. Files are not trusted, and nothing is written that could not be read.
    """

    architecture: str = _field(matching(r"\w{1,100}", "the name of a model"), forms=(HEADER,))
    tag: str = _field(matching(r"\w[\w.-]{0,99}", "letters, digits, - and _"), forms=())
    num_classes: int = _field(whole(*BOUNDS["num_classes"]))
    mean: tuple[float, ...] = _field(tuple_of(number(-1e4, 1e4), 1, 1000))
    std: tuple[float, ...] = _field(tuple_of(number(1e-6, 1e4), 1, 1000))
    class_names: tuple[str, ...] = _field(tuple_of(text), ())
    palette: tuple[tuple[int, int, int], ...] = _field(tuple_of(tuple_of(whole(0, 255), 3, 3)), ())
    in_chans: int = _field(whole(*BOUNDS["in_chans"]), 3)
    interpolation: str = _field(matching("nearest|bilinear|bicubic", "nearest, bilinear or bicubic"), "bilinear")
    ignore_index: int = _field(whole(-1, 65_535), 255)
    file: str = _field(rule("text", lambda value: isinstance(value, str)), "", forms=(ENTRY,))
    size: int = _field(whole(0, 1 << 40), 0, forms=_OF_FILE)
    sha256: str = _field(_DIGEST, "", forms=_OF_FILE)
    keys_sha256: str = _field(_DIGEST, "", forms=_OF_FILE)
    sources: tuple[str, ...] = _field(tuple_of(match_source, 0, 100), (), forms=(ENTRY,))
    train_data: str = _field(text, "")
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=_stored(plain(1000, 3)))
    command: str = _field(text, "")
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=_stored(plain(50_000, 3), _OF_FILE))
    versions: dict[str, str] = dataclasses.field(default_factory=dict, metadata=_stored(_TEXTS))
    license: str = _field(text, "")
    data_license: str = _field(text, "")
    base_model: str = _field(text, "")
    label_format: dict[str, Any] = dataclasses.field(default_factory=dict, metadata=_stored(check_label_format))
    image_max: float | None = _field(lambda name, value: value is None or number(1e-9, 1e9)(name, value), None)
    format_version: int = _field(lambda _, version: check_version(version), 1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _freeze(getattr(self, field.name))
            field.metadata["rule"](field.name, value)
            object.__setattr__(self, field.name, value)
        for key in ("class_names", "palette"):
            if (count := len(getattr(self, key))) not in (0, self.num_classes):
                raise ValueError(
                    f"{key} must be one for each of {self.num_classes} classes; got {count}: give them all"
                )
        counts = len(self.mean), len(self.std)
        if counts[0] != counts[1] or counts[0] not in (1, 3, self.in_chans):
            raise ValueError(
                f"mean and std must be of one length, {self.in_chans}, 3 or 1; got {counts[0]} and {counts[1]}: give "
                "one for each channel"
            )

    @property
    def name(self) -> str:
        """``architecture.tag``."""
        return f"{self.architecture}.{self.tag}"

    def transforms(self) -> v2.Compose:
        """Create the torchvision pipeline that prepares one image for the network, as :func:`gatezoo.predict` does.

        It takes a path, a PIL image, an array or a tensor (C, H, W), see :func:`gatezoo.predict`, and returns float32
        (C, H, W) at the image's own size: normalized with ``mean`` and ``std``, or in 0 .. 1 for networks of instance
        segmentation, which normalize images themselves. ``image_max`` is full brightness, if it is known.
        """
        from ..data.input_transform import make_input_transform
        from ..registry import get_model_spec

        return make_input_transform(self, get_model_spec(self.architecture).task)

    @classmethod
    def from_dict(cls, name: str, entry: Mapping[str, Any]) -> PretrainedCfg:
        """Return the config of a manifest entry, ``name.tag: {...}``.

        Every field is required but those that older manifests lack, such as ``format_version``, whose default is 1.

        Raises:
            ValueError: a field that is missing, unknown or not valid.
        """
        architecture, _, tag = name.partition(".")
        try:
            cfg = cls._read(ENTRY, entry, architecture=architecture, tag=tag)
            matching(r"[\w-]?[\w.-]*", "the name of a file, without a folder")("file", cfg.file)
            for source in cfg.sources:
                if source.startswith("local-dir:"):
                    refuse("sources", "bundled, on the Hub or on an https server", source)
        except ValueError as error:
            raise ValueError(f"entry {shorten(name)} of the manifest must be a valid record: {error}") from None
        return cfg

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the manifest; empty fields that it may lack are left out."""
        fields = self._write(ENTRY)
        return {key: value for key, value in fields.items() if value or key not in _OPTIONAL_IN_ENTRIES}

    @classmethod
    def from_config(cls, architecture: str, fields: Mapping[str, Any], source: str) -> PretrainedCfg:
        """Return the config of a model folder, from ``pretrained_cfg`` of its ``config.json`` and the file's version.

        Raises:
            ValueError: a field that is missing, unknown or not valid.
        """
        return cls._read(CONFIG, fields, architecture=architecture, tag="local", sources=(source,))

    def to_config(self) -> dict[str, Any]:
        """Return ``pretrained_cfg`` of a ``config.json``."""
        return {key: value for key, value in self._write(CONFIG).items() if key != "format_version"}

    @classmethod
    def from_checkpoint(
        cls, path: str | os.PathLike, metadata: Mapping[str, Any], fallback: PretrainedCfg | None = None
    ) -> PretrainedCfg | None:
        """Return the config of a trained checkpoint, from the metadata in its header; what it has besides is not read.

        Args:
            path: of the checkpoint.
            metadata: of any format version; see :func:`upgrade_metadata`.
            fallback: returned for a checkpoint without metadata: the config of the weights it replaces.

        Raises:
            ValueError: a field that is missing or not valid.
        """
        metadata = upgrade_metadata(metadata)
        if "architecture" not in metadata:
            return fallback
        known = {key: metadata[key] for key in _FIELDS[HEADER] if key in metadata}
        return cls._read(HEADER, known, tag="local", file=str(path))

    def to_checkpoint_metadata(self) -> dict[str, Any]:
        """Return the fields that the header of a checkpoint stores, under the present format version."""
        return self._write(HEADER) | {"format_version": FORMAT_VERSION}

    @classmethod
    def _read(cls, form: str, fields: Mapping[str, Any], **place: Any) -> PretrainedCfg:
        """Return the record of a form: the fields that it stores, which are not trusted, and those of its place."""
        if not isinstance(fields, Mapping):
            refuse("a record", "an object", fields)
        check_version(fields.get("format_version", 1))  # first: fields of a newer version may have other names
        if unknown := sorted(fields.keys() - _FIELDS[form]):
            refuse("a field of a record", "one that this version knows", unknown[0])
        required = _REQUIRED.get(form, _FIELDS[form].keys() - _OPTIONAL_IN_ENTRIES)
        if missing := sorted(required - fields.keys()):
            raise ValueError(f"a record must have {', '.join(missing)}; got none: save the model again")
        for key in _NOT_EMPTY.get(form, ()):
            if not fields[key]:
                refuse(key, "given", fields[key])
        values = dict(fields)
        if isinstance(values.get("recipe"), Mapping):
            values["recipe"] = upgrade_recipe(values["recipe"])
        return cls(**place, **values)

    def _write(self, form: str) -> dict[str, Any]:
        return {key: _thaw(getattr(self, key)) for key in _FIELDS[form]}

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


# Names of the fields of each form, in their order.
_FIELDS = {
    form: dict.fromkeys(field.name for field in dataclasses.fields(PretrainedCfg) if form in field.metadata["forms"])
    for form in _ALL
}


def _freeze(value: Any) -> Any:
    """Return a list, and the lists in it, as tuples: deeper ones are in no field."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)


def _thaw(value: Any) -> Any:
    """Return plain JSON: lists for tuples, at any depth."""
    if isinstance(value, dict):
        return {key: _thaw(item) for key, item in value.items()}
    return [_thaw(item) for item in value] if isinstance(value, list | tuple) else value
