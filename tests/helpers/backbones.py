"""Files of weights of backbones, as ``--pretrained-backbone`` takes them."""

import timm
import torch
from safetensors.torch import save_file


def backbone_file(path, name="test_resnet", values=None):
    """Write weights of a timm model, its random ones or those that ``values`` draws for each tensor of numbers."""
    state = timm.create_model(name).state_dict()
    if values:
        state = {key: values(tensor) if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    save_file(state, path)
    return path


def distinct_backbone_file(path):
    """Write weights that no network draws at first."""
    torch.manual_seed(7)
    return backbone_file(path, values=torch.rand_like)
