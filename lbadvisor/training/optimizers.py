"""A recipe's optimizer, made of torch's own."""

from collections.abc import Iterable
from inspect import unwrap
from typing import TypeVar

import torch
from torch import Tensor

from lbadvisor.recipe import recipe_tables as tables

TorchOptimizer = TypeVar("TorchOptimizer", bound=torch.optim.Optimizer)


def build_optimizer(optimizer: tables.Optimizer, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Torch's optimizer with the recipe's numbers, fused if torch has a fused form."""
    decay = optimizer.weight_decay
    match optimizer:
        case tables.Sgd(lr=lr, momentum=momentum, nesterov=nesterov):
            return _plain(torch.optim.SGD)(
                parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True
            )
        case tables.Adam(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return _plain(torch.optim.Adam)(
                parameters, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=decay, fused=True
            )
        case tables.AdamW(lr=lr, beta1=beta1, beta2=beta2, epsilon=epsilon):
            return _plain(torch.optim.AdamW)(
                parameters, lr=lr, betas=(beta1, beta2), eps=epsilon, weight_decay=decay, fused=True
            )
        case tables.RmsProp(lr=lr, beta2=beta2, epsilon=epsilon, momentum=momentum):
            return _plain(torch.optim.RMSprop)(
                parameters, lr=lr, alpha=beta2, eps=epsilon, momentum=momentum, weight_decay=decay
            )
        case tables.Adagrad(lr=lr, epsilon=epsilon):
            return _plain(torch.optim.Adagrad)(parameters, lr=lr, eps=epsilon, weight_decay=decay)


def _plain(kind: type[TorchOptimizer]) -> type[TorchOptimizer]:
    """The same optimizer, its methods without what torch wraps around them for its compiler, its profiler and hooks.

    The first call of a wrapped method imports the compiler, which takes a second; no optimizer is compiled here, and
    the hooks alone took a hundredth of an update of F1 at batch 128 (tests/benchmarks/tables.py).
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: dict[str, object] = {name: unwrap(getattr(kind, name)) for name in names}
    methods["step"] = step = torch.no_grad()(unwrap(kind.step))
    step.hooked = True  # how torch marks a method that it has already wrapped
    plain: type[TorchOptimizer] = type(kind.__name__, (kind,), methods)
    return plain
