"""Hyperparameter advisor and resumable trainer for large-batch training.

    >>> import lbadvisor
    >>> plan = lbadvisor.plan("recipes/resnet44.toml", to=4096)
    >>> plan.updates, plan.clipping.updates
    (78125, 391)

Names are loaded on first use: planning needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from lbadvisor import errors
from lbadvisor.version import __version__

if TYPE_CHECKING:
    from lbadvisor.comparison.compare import compare_runs
    from lbadvisor.comparison.comparison import Comparison
    from lbadvisor.library.example_order import UpdateBatchSampler
    from lbadvisor.library.ghosts import convert_ghost_batchnorm
    from lbadvisor.library.plans import plan
    from lbadvisor.library.scheduling import schedule
    from lbadvisor.library.training_runs import compare, ladder, train
    from lbadvisor.library.watch import Watch
    from lbadvisor.nn.clipping import ClippingWarmup
    from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
    from lbadvisor.planning.adjustments import Adjustment
    from lbadvisor.planning.numbers_plan import NumbersPlan
    from lbadvisor.planning.plan import Plan, advise
    from lbadvisor.planning.planned_arms import LadderRequest
    from lbadvisor.planning.request import Request
    from lbadvisor.recipe.file import dump_recipe, load_recipe
    from lbadvisor.recipe.recipe import Recipe
    from lbadvisor.records.run import Measurement, Run
    from lbadvisor.runs.ladder import train_ladder
    from lbadvisor.runs.recorder import RunLog, record
    from lbadvisor.runs.runner import RunRequest, train_run
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.store import Store
    from lbadvisor.training.machine import Machine

_HOMES = {
    "Adjustment": "lbadvisor.planning.adjustments",
    "ClippingWarmup": "lbadvisor.nn.clipping",
    "Comparison": "lbadvisor.comparison.comparison",
    "GhostBatchNorm": "lbadvisor.nn.ghost_batch_norm",
    "LadderRequest": "lbadvisor.planning.planned_arms",
    "Machine": "lbadvisor.training.machine",
    "Measurement": "lbadvisor.records.run",
    "NumbersPlan": "lbadvisor.planning.numbers_plan",
    "Plan": "lbadvisor.planning.plan",
    "Recipe": "lbadvisor.recipe.recipe",
    "Request": "lbadvisor.planning.request",
    "Run": "lbadvisor.records.run",
    "RunLog": "lbadvisor.runs.recorder",
    "RunRequest": "lbadvisor.runs.runner",
    "Store": "lbadvisor.store",
    "UpdateBatchSampler": "lbadvisor.library.example_order",
    "Watch": "lbadvisor.library.watch",
    "Workspace": "lbadvisor.runs.workspace",
    "advise": "lbadvisor.planning.plan",
    "compare": "lbadvisor.library.training_runs",
    "compare_runs": "lbadvisor.comparison.compare",
    "convert_ghost_batchnorm": "lbadvisor.library.ghosts",
    "dump_recipe": "lbadvisor.recipe.file",
    "ladder": "lbadvisor.library.training_runs",
    "load_recipe": "lbadvisor.recipe.file",
    "plan": "lbadvisor.library.plans",
    "record": "lbadvisor.runs.recorder",
    "schedule": "lbadvisor.library.scheduling",
    "train": "lbadvisor.library.training_runs",
    "train_ladder": "lbadvisor.runs.ladder",
    "train_run": "lbadvisor.runs.runner",
}

__all__ = [
    "Adjustment", "ClippingWarmup", "Comparison", "GhostBatchNorm", "LadderRequest", "Machine", "Measurement",
    "NumbersPlan", "Plan", "Recipe", "Request", "Run", "RunLog", "RunRequest", "Store", "UpdateBatchSampler",
    "Watch", "Workspace", "__version__", "advise", "compare", "compare_runs", "convert_ghost_batchnorm",
    "dump_recipe", "errors", "ladder", "load_recipe", "plan", "record", "schedule", "train", "train_ladder",
    "train_run",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
