"""Slow reference implementations by loops over pixels."""

import torch


def conv_by_loops(x, weight, bias):
    """Compute a zero-padded convolution of odd kernel and stride 1 as sums over pixels."""
    count, _, height, width = x.shape
    reach = weight.shape[-1] // 2
    out = torch.zeros(count, weight.shape[0], height, width)
    for y in range(height):
        for z in range(width):
            for dy in range(-reach, reach + 1):
                for dz in range(-reach, reach + 1):
                    if 0 <= y + dy < height and 0 <= z + dz < width:
                        out[:, :, y, z] += x[:, :, y + dy, z + dz] @ weight[:, :, dy + reach, dz + reach].T
    return out + bias[:, None, None]


def bilinear_by_loops(x, size):
    """Resize bilinearly with pixel centers aligned, as a weighted sum of four pixels each."""
    height, width = x.shape[-2:]
    out = torch.zeros(*x.shape[:2], *size)
    for y in range(size[0]):
        for z in range(size[1]):
            at_y = max((y + 0.5) * height / size[0] - 0.5, 0.0)
            at_z = max((z + 0.5) * width / size[1] - 0.5, 0.0)
            y0, z0 = min(int(at_y), height - 1), min(int(at_z), width - 1)
            y1, z1 = min(y0 + 1, height - 1), min(z0 + 1, width - 1)
            ty, tz = at_y - y0, at_z - z0
            upper = (1 - tz) * x[..., y0, z0] + tz * x[..., y0, z1]
            lower = (1 - tz) * x[..., y1, z0] + tz * x[..., y1, z1]
            out[..., y, z] = (1 - ty) * upper + ty * lower
    return out


def block_by_loops(block, x):
    """Compute relu(norm(conv(x))) of a convolution without bias, its batch norm in evaluation mode, and a ReLU."""
    conv, norm, _ = block
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    centered = conv_by_loops(x, conv.weight, torch.zeros(conv.out_channels)) - norm.running_mean[:, None, None]
    return (centered * scale[:, None, None] + norm.bias[:, None, None]).relu()
