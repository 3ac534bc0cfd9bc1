"""A recipe's optimizer, made of torch's own."""

from collections.abc import Iterable

import torch
from torch import Tensor

from lbadvisor.recipe import recipe_tables as tables
from lbadvisor.recipe.schedule import Rates


def build_optimizer(optimizer: tables.Optimizer, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Torch's optimizer with the recipe's numbers, fused if torch has a fused form."""
    decay = optimizer.weight_decay
    match optimizer:
        case tables.Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(
                parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )
        case tables.Adam(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return torch.optim.Adam(
                parameters, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=decay, fused=True
            )
        case tables.AdamW(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return torch.optim.AdamW(
                parameters, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=decay, fused=True
            )
        case tables.RmsProp(lr=lr, beta2=beta2, epsilon=epsilon, momentum=momentum):
            return torch.optim.RMSprop(
                parameters, lr=lr, alpha=beta2, eps=epsilon, momentum=momentum, weight_decay=decay
            )
        case tables.Adagrad(lr=lr, epsilon=epsilon):
            return torch.optim.Adagrad(parameters, lr=lr, eps=epsilon, weight_decay=decay)


def set_rates(optimizer: torch.optim.Optimizer, rates: Rates) -> None:
    """Set the rates of the next update."""
    for group in optimizer.param_groups:
        group["lr"], group["weight_decay"] = rates.lr, rates.weight_decay
