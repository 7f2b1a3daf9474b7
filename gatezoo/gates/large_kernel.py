"""Global context of a map by convolutions with large kernels (in place of ZigZagNet's encoding, Sec. 6.1, Table 2)."""

from __future__ import annotations

from torch import Tensor, nn


class LargeKernel(nn.Module):
    """Convolution with a large kernel in two separable halves, added to the map: (B, C, H, W) -> (B, C, H, W).

    ::

        R = F + W_1xk * (W_kx1 * F) + V_kx1 * (V_1xk * F)       all from C to C channels, with biases, padded by zeros

    This is the global convolutional network of Peng et al. (Large kernel matters, CVPR 2017, Sec. 3.1), with its k of
    15 and without a nonlinearity between the two convolutions of a half: 4 k C^2 weights instead of k^2 C^2. The sum
    with F is that of the region context encoding whose place the module takes.

    Args:
        channels: C.
        kernel_size: k; odd.
    """

    def __init__(self, channels: int, kernel_size: int = 15):
        super().__init__()
        tall, wide = (kernel_size, 1), (1, kernel_size)
        self.tall_first, self.wide_first = (
            nn.Sequential(*(nn.Conv2d(channels, channels, shape, padding="same") for shape in shapes))
            for shapes in ((tall, wide), (wide, tall))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.tall_first(x) + self.wide_first(x)
