"""What a run runs on is told apart where it gives other bits."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from lbadvisor.records.run import Environment
from lbadvisor.training.environment import departures, device_name, environment_of, threads_kept

HERE = Environment("cpu", "A Processor (AVX2)", "0.1.0", "3.11.7", "2.15.0", "0f" * 20, False)


def test_the_same_place_is_no_departure_whatever_python_or_commit() -> None:
    assert departures(HERE, HERE) == []
    assert departures(HERE, replace(HERE, python_version="3.12.1", git_commit=None, git_dirty=True)) == []


@pytest.mark.parametrize("field", ["device_name", "torch_version", "lbadvisor_version"])
def test_another_device_or_version_is_named_with_both(field: str) -> None:
    assert departures(HERE, replace(HERE, **{field: "another"})) == [
        f"{field}: {getattr(HERE, field)} there, another here"
    ]


def test_a_cpu_goes_by_its_model_and_the_instructions_that_torch_uses() -> None:
    """Told to use fewer instructions, as another machine would, the same one is another device."""
    name = device_name(torch.device("cpu"))
    assert name.endswith(f"({torch.backends.cpu.get_cpu_capability()})")
    program = (
        "import torch; from lbadvisor.training.environment import device_name; print(device_name(torch.device('cpu')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"ATEN_CPU_CAPABILITY": "default"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith("(DEFAULT)")
    assert done.stdout.rpartition(" (")[0] == name.rpartition(" (")[0]
    assert environment_of(torch.device("cpu")).device_name == name


def test_a_number_of_threads_above_the_limit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
        assert threads_kept(2)
        monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
        assert not threads_kept(2)
        assert threads_kept(1)
    finally:
        torch.set_num_threads(before)
