"""Randomize parameters whose initial values hide mistakes."""

from torch import nn

from gatezoo.gates.depth import PredictedGate


def randomize(module):
    """Randomize the batch norms and depth regressions of a module and put it in evaluation mode."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, 0, 1)
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    for gate in (m for m in module.modules() if isinstance(m, PredictedGate)):
        nn.init.normal_(gate.log_depth.weight, std=0.1)
    return module.eval()
