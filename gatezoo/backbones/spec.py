"""Name and options of a backbone, given before anything is built."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .pyramid import Pyramid
    from .stages import Stages


@dataclass(frozen=True)
class BackboneSpec:
    """Name and options of a backbone, from which a model's builder makes the form that it needs.

    Neither torch nor timm is imported before a method is called.

    Attributes:
        name: a timm model, or "wider_resnet38".
        output_stride: 32, or 16 or 8 to dilate the last stages.
        in_chans: channels of the image.
        pretrained: True for timm's ImageNet weights (downloaded), or a local file of them.
        kwargs: further keywords of the timm model.
    """

    name: str
    output_stride: int = 32
    in_chans: int = 3
    pretrained: bool | str | Path = False
    kwargs: Mapping[str, Any] | None = None

    def pyramid(self, strides: Sequence[int] | None = None) -> Pyramid:
        """Build the backbone as a pyramid of feature maps.

        Args:
            strides: strides of the maps, finest first, as they are before dilation: one above ``output_stride`` means
                a map at ``output_stride``. By default the deepest map alone.

        Raises:
            ValueError: an unknown name, or a stride or output stride that the network does not have.
        """
        from .create import make_pyramid

        if strides is not None:
            strides = [min(stride, self.output_stride) for stride in strides]
        # A WiderResNet38 is no timm network, but has the attributes and methods of a pyramid.
        return cast("Pyramid", make_pyramid(self.name, strides, **self._options()))

    def stages(self) -> Stages:
        """Build the backbone as a chain of blocks that can be run again.

        Raises:
            ValueError: an unknown name, or a network whose blocks do not run one after the other.
        """
        from .stages import Stages

        return Stages(self.name, **self._options())

    def _options(self) -> dict[str, Any]:
        return dict(
            output_stride=self.output_stride,
            in_chans=self.in_chans,
            pretrained=self.pretrained,
            backbone_args=self.kwargs,
        )


# The keyword of a model that sets each field.
KEYWORDS = {
    "backbone": "name",
    "output_stride": "output_stride",
    "in_chans": "in_chans",
    "pretrained_backbone": "pretrained",
    "backbone_args": "kwargs",
}
# Documentation that all models share; each documents its ``backbone`` itself.
KEYWORD_HELP = {
    "output_stride": "32, or 16 or 8 to dilate the last stages of the backbone.",
    "in_chans": "channels of the image.",
    "pretrained_backbone": "True for timm's ImageNet weights (downloaded), or a local file of them.",
    "backbone_args": "further keywords of the timm model.",
}


def takes_backbone_spec(signature: inspect.Signature) -> bool:
    """Return whether a builder has a parameter ``backbone: BackboneSpec``."""
    annotation = getattr(signature.parameters.get("backbone"), "annotation", None)
    # A string in modules that postpone the evaluation of annotations.
    return annotation is BackboneSpec or str(annotation).rpartition(".")[2] == BackboneSpec.__name__


def flat_signature(signature: inspect.Signature, output_stride: int | None) -> inspect.Signature:
    """Return a builder's signature with :data:`KEYWORDS` in place of its :class:`BackboneSpec`, if it has one.

    Args:
        signature: that of the builder.
        output_stride: default of the keyword of this name; None leaves the keyword out.
    """
    if not takes_backbone_spec(signature):
        return signature
    defaults = {field.name: field.default for field in dataclasses.fields(BackboneSpec)}
    defaults |= {"name": inspect.Parameter.empty, "output_stride": output_stride}
    types = {field.name: field.type for field in dataclasses.fields(BackboneSpec)}
    own = {
        name: p if p.kind is p.VAR_KEYWORD else p.replace(kind=p.KEYWORD_ONLY)
        for name, p in signature.parameters.items()
        if name != "backbone"
    }
    flat = own | {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=types[name])
        for key, name in KEYWORDS.items()
        if (key, output_stride) != ("output_stride", None)
    }
    # In the order in which users read them: the network first, then images, classes and training.
    first = ["backbone", "output_stride"]
    last = ["num_classes", "in_chans", "pretrained_backbone", "backbone_args", "freeze_bn"]
    order = [*first, *(name for name in own if name not in last), *last]
    return signature.replace(parameters=sorted((flat[name] for name in order if name in flat), key=lambda p: p.kind))
