"""A plan names bfloat16 where it would be faster: on a CPU that computes in it, to who trains in float32 on it."""

import pytest

from lbadvisor.cli.this_cpu import training_cpu_flags
from lbadvisor.planning.bf16_note import bf16_note
from lbadvisor.recipe.recipe_tables import Compute

FACTS = (
    "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx512f avx512_bf16 sse\n\nprocessor\t: 1\nflags\t\t: fpu\n"
)


@pytest.mark.parametrize(
    ("compute", "flags", "named"),
    [
        (Compute(), {"avx512f", "avx512_bf16"}, "avx512_bf16"),
        (Compute(), {"avx512_bf16", "amx_bf16"}, "amx_bf16"),
        (Compute(), {"avx512f", "avx512"}, None),
        (Compute(), set(), None),
        (Compute(precision="bf16"), {"avx512_bf16"}, None),
        (Compute(tf32=True), {"avx512_bf16"}, None),
    ],
)
def test_the_note_is_for_float32_on_a_cpu_with_the_instructions(compute, flags, named):
    note = bf16_note(compute, flags)
    if named is None:
        assert note is None
    else:
        assert f"bfloat16 ({named})" in note
        # Both sides: speed, and accuracy with its interval.
        assert "1.54 times as fast" in note
        assert "-0.10 points (95% -0.33 to +0.13, 3 seeds)" in note


def test_the_flags_are_those_of_the_first_processor(tmp_path):
    facts = tmp_path / "cpuinfo"
    facts.write_text(FACTS)
    assert training_cpu_flags(facts, tmp_path / "no driver") == {"fpu", "avx512f", "avx512_bf16", "sse"}


def test_nothing_is_known_without_linux_or_if_a_gpu_would_train(tmp_path):
    assert training_cpu_flags(tmp_path / "none", tmp_path / "no driver") == frozenset()
    facts, driver = tmp_path / "cpuinfo", tmp_path / "version"
    facts.write_text(FACTS)
    driver.write_text("NVRM version: NVIDIA UNIX")
    assert training_cpu_flags(facts, driver) == frozenset()
