"""Entry points of torch.hub: one per model of the zoo, and ``create_model``.

torch.hub.load("OWNER/gatezoo", "dignet_lite0_8s", pretrained=True, trust_repo=True)
"""

dependencies = ["torch", "torchvision", "timm", "huggingface_hub", "safetensors", "numpy", "PIL"]

from gatezoo.factory import create_model
from gatezoo.factory import hub_entrypoints as _entrypoints

globals().update(_entrypoints())
