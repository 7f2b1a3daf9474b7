"""An exported network in the place of a network of the zoo, to evaluate it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pretrained import PretrainedCfg
from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import PassOutput
from .onnx_predictor import OnnxPredictor


class _NoBackbone(nn.Module):
    """Stand in for the backbone, which is inside the file."""

    size_divisor = 1

    def __init__(self) -> None:
        super().__init__()
        # It tells where the network runs: on the CPU.
        self.place = nn.Parameter(torch.zeros(0), requires_grad=False)


class ExportedSegmenter(SemanticSegmenter):
    """A network whose logits an exported file computes, one image after the other, on the CPU.

    Its config has what the metadata of the file say. Of a file with preprocessing the network takes pixels in 0 .. 255,
    and of one that returns classes the logits are 1 for the class and 0 for others.

    Args:
        predictor: of the file.
    """

    # It is used as it is.
    prepared = True

    def __init__(self, predictor: OnnxPredictor):
        info = predictor.info
        low, _ = info["input"]["sides"]
        super().__init__(
            _NoBackbone(),  # type: ignore[arg-type]
            nn.Identity(),
            len(predictor.class_names),
            info["in_chans"],
            freeze_bn=False,
            min_size=low,
        )
        self._predictor = predictor
        name, _, tag = info["name"].partition(".")
        channels = info["in_chans"]
        # Pixels / 255, divided by 1 / 255, are pixels again.
        raw = info["preprocessing"]
        self.pretrained_cfg = PretrainedCfg(
            name,
            tag or "local",
            self.num_classes,
            tuple([0.0] * channels if raw else info["mean"]),
            tuple([1 / 255] * channels if raw else info["std"]),
            class_names=tuple(predictor.class_names),
            palette=info["palette"],
            in_chans=channels,
            ignore_index=info["ignore_index"],
            label_format=info["label_format"],
            file=str(predictor.file),
            license=info["license"],
            data_license=info["data_license"],
        )
        self.eval()

    def run_passes(self, padded: Tensor, details: bool) -> Iterator[PassOutput]:
        yield PassOutput(torch.cat([self._run(image) for image in padded[:, None]]))

    def _run(self, image: Tensor) -> Tensor:
        if self._predictor.info["preprocessing"]:
            image = image.round().to(torch.uint8).permute(0, 2, 3, 1)
        found = torch.from_numpy(self._predictor.run(image.numpy()))
        if self._predictor.info["outputs"] != "classes":
            return found
        return F.one_hot(found.long(), self.num_classes).permute(0, 3, 1, 2).float()
