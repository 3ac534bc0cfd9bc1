"""What bfloat16 gains and costs on a CPU that computes in it, as it was measured on one."""

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe_tables import Compute

INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""The names that Linux gives to a CPU's products in bfloat16; without them, torch converts and gains nothing."""

MEASURED = (
    "On two cores of an AMD EPYC with avx512_bf16, torch 2.14, an update at batch 128 was 1.54 times as fast for F1 "
    "(1.49 to 1.61, n = 7) and 1.58 times for ResNet-44 (1.48 to 1.64, n = 7). F1's accuracy on MNIST after ten epochs "
    "was 98.47% in bf16 and 98.56% in float32: the difference of -0.10 points (95% -0.33 to +0.13, 3 seeds) leaves "
    "open whether it costs accuracy. Other networks and processors were not measured"
)
"""By tests/benchmarks/tables.py; the accuracy by `lbadvisor train recipes/mnist_f1.toml --schedule-scale 0.25`."""


def bf16_note(compute: "Compute", cpu_flags: Collection[str]) -> str | None:
    """What to say of bfloat16 to who trains in float32 on a CPU with these flags; None if it has no such products."""
    found = next((name for name in INSTRUCTIONS if name in cpu_flags), None)
    if found is None or compute.precision != "float32" or compute.tf32:
        return None
    return f"this CPU computes in bfloat16 ({found}), which is not used: --set compute.precision=bf16. {MEASURED}."
