"""Hyperparameter advisor and resumable trainer for large-batch training.

    from lbadvisor import Request, advise, load_recipe
    plan = advise(load_recipe(Path("recipes/resnet44.toml")), Request(4096, ("lr", "ghost", "regime", "clip")))

The names are loaded when they are first used: planning needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lbadvisor.advisor.adjustments import Adjustment
    from lbadvisor.advisor.compare import compare_runs
    from lbadvisor.advisor.comparison import Comparison
    from lbadvisor.advisor.plan import Plan, advise
    from lbadvisor.advisor.recipe import Recipe
    from lbadvisor.advisor.recipe_file import dump_recipe, load_recipe
    from lbadvisor.advisor.records import Measurement, Run
    from lbadvisor.advisor.request import Request
    from lbadvisor.ladder import LadderRequest, train_ladder
    from lbadvisor.runner import RunRequest, train_run
    from lbadvisor.store import Store
    from lbadvisor.training.ghost_batch_norm import GhostBatchNorm

_HOMES = {
    "Adjustment": "lbadvisor.advisor.adjustments",
    "Comparison": "lbadvisor.advisor.comparison",
    "GhostBatchNorm": "lbadvisor.training.ghost_batch_norm",
    "LadderRequest": "lbadvisor.ladder",
    "Measurement": "lbadvisor.advisor.records",
    "Plan": "lbadvisor.advisor.plan",
    "Recipe": "lbadvisor.advisor.recipe",
    "Request": "lbadvisor.advisor.request",
    "Run": "lbadvisor.advisor.records",
    "RunRequest": "lbadvisor.runner",
    "Store": "lbadvisor.store",
    "advise": "lbadvisor.advisor.plan",
    "compare_runs": "lbadvisor.advisor.compare",
    "dump_recipe": "lbadvisor.advisor.recipe_file",
    "load_recipe": "lbadvisor.advisor.recipe_file",
    "train_ladder": "lbadvisor.ladder",
    "train_run": "lbadvisor.runner",
}

__all__ = [
    "Adjustment",
    "Comparison",
    "GhostBatchNorm",
    "LadderRequest",
    "Measurement",
    "Plan",
    "Recipe",
    "Request",
    "Run",
    "RunRequest",
    "Store",
    "advise",
    "compare_runs",
    "dump_recipe",
    "load_recipe",
    "train_ladder",
    "train_run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
