"""What the tests of models share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def settled() -> Callable[[nn.Module, torch.Tensor], nn.Module]:
    """Return a function that gives an untrained network the batch statistics of an input, and eval mode.

    Without them the signal of a deep untrained network dies out and every input gets the same score.
    """

    def settle(network: nn.Module, example: torch.Tensor) -> nn.Module:
        norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            network.train()(example)
        return network.eval()

    return settle
