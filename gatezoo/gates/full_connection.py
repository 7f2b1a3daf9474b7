"""Global context of a map by full connection of its regions (in place of ZigZagNet's encoding, Sec. 6.1, Table 2)."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.grid_pool import matmul_columns
from .region_context import RegionMatrices


def _pool(x: Tensor, side: int) -> tuple[Tensor, RegionMatrices]:
    """Return the means of ``side`` x ``side`` regions of a map, (B, C, side, side), and the map's matrices."""
    matrices = RegionMatrices.of(x, (side,))
    return matrices.rows[0] @ x @ matrices.columns.T / matrices.areas[0], matrices


class GlobalContext(nn.Module):
    """One vector of the whole map, added to each pixel: (B, C, H, W) -> (B, C, H, W).

    ::

        R = F + W_2 relu(W_1 M + b_1) + b_2         M = means of the K x K regions of F, K^2 C numbers

    W_1 (C, K^2 C) and W_2 (C, C) are the two fully connected layers that end a classification network, through which
    Mostajabi et al. (Feedforward semantic segmentation with zoom-out features, CVPR 2015: "scene-level resolution") run
    the whole image, to add its feature to that of each superpixel. They append it; here it is added, as in the region
    context encoding whose place the module takes. K = 7 is the grid below those layers in their network, VGG-16.
    Regions are those of :class:`~gatezoo.gates.region_context.RegionContext`; the mean of an empty one is 0.

    Args:
        channels: C.
        side: K.
    """

    def __init__(self, channels: int, side: int = 7):
        super().__init__()
        self.side = side
        self.connect = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * side**2, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.connect(_pool(x, self.side)[0])[..., None, None]


class FullConnection(nn.Module):
    """A vector for each region from all regions of the map: (B, C, H, W) -> (B, C, H, W).

    ::

        R(h, w) = F(h, w) + Q(x, y) at the region (x, y) of the pixel
        Q       = W vec(M) + b                      M = means of the K x K regions of relu(W_3x3 * F), K^2 C / 2 numbers

    W (K^2 C, K^2 C / 2) has its own weights for each region. This is the fully connected fusion of Liu et al. (Path
    aggregation network for instance segmentation, CVPR 2018): a 3x3 convolution that halves the channels and
    one fully connected layer, which is sensitive to places, beside the convolutional path that it is added to. Theirs
    predicts a mask, one number for each place; a context map has C. ZigZagNet gives no K: 5 is the middle one of its
    encoding's grids (3, 5 and 7). Regions are those of :class:`~gatezoo.gates.region_context.RegionContext`.

    Args:
        channels: C.
        side: K.
    """

    def __init__(self, channels: int, side: int = 5):
        super().__init__()
        self.side = side
        self.squeeze = nn.Sequential(nn.Conv2d(channels, channels // 2, 3, padding=1), nn.ReLU(inplace=True))
        self.connect = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels // 2 * side**2, channels * side**2),
            nn.Unflatten(1, (channels, side, side)),
        )

    def forward(self, x: Tensor) -> Tensor:
        pooled, matrices = _pool(self.squeeze(x), self.side)
        return x + matmul_columns(matrices.rows[0].T @ self.connect(pooled), matrices.columns)
