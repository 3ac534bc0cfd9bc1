"""The trainers that a training can be exported for."""

from collections.abc import Callable

from lbadvisor.planning.export.composer_code import composer_code
from lbadvisor.planning.export.detectron2_config import detectron2_config
from lbadvisor.planning.export.exported import Exported
from lbadvisor.planning.export.lightning_code import lightning_code
from lbadvisor.planning.export.mmengine_config import mmengine_config
from lbadvisor.planning.export.planned_training import PlannedTraining
from lbadvisor.planning.export.timm_flags import timm_flags
from lbadvisor.planning.export.torch_code import torch_code
from lbadvisor.planning.export.torchtitan_config import torchtitan_config
from lbadvisor.planning.export.transformers_code import transformers_code

TRAINERS: dict[str, Callable[[PlannedTraining], Exported]] = {
    "timm": timm_flags,
    "lightning": lightning_code,
    "transformers": transformers_code,
    "torchtitan": torchtitan_config,
    "mmengine": mmengine_config,
    "detectron2": detectron2_config,
    "composer": composer_code,
    "torch": torch_code,
}
"""Each as a pure function of the training."""
