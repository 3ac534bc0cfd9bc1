"""What a run runs on is told apart where it gives other bits."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lbadvisor.errors import UsageError
from lbadvisor.records.run import Environment
from lbadvisor.training.environment import (
    _driver,
    departures,
    device_among,
    device_name,
    environment_of,
    threads_kept,
    unused_gpus,
)

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


def test_a_gpu_is_chosen_by_number_and_auto_is_the_first() -> None:
    assert device_among("auto", 0) == device_among("cpu", 4) == torch.device("cpu")
    assert device_among("auto", 4) == device_among("cuda", 4) == torch.device("cuda", 0)
    assert device_among("cuda:3", 4) == torch.device("cuda", 3)
    with pytest.raises(UsageError, match=r"no device cuda:4: its last one is cuda:3"):
        device_among("cuda:4", 4)
    with pytest.raises(UsageError, match="has no CUDA device"):
        device_among("cuda:0", 0)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:1:2", "cuda:\u0661"])
def test_a_device_that_no_machine_has_is_named(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        device_among(name, 2)


def test_only_of_several_gpus_is_it_said_which_one_trains() -> None:
    assert unused_gpus(torch.device("cpu"), 4) is unused_gpus(torch.device("cuda", 0), 1) is None
    said = unused_gpus(torch.device("cuda", 1), 4)
    assert said == "trains on cuda:1, one of 4 GPUs: --device cuda:N chooses another"


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.20  Release Build  (root)", "570.133.20"),
        ("something else", None),
    ],
)
def test_the_driver_is_read_where_it_says_its_version(tmp_path: Path, line: str, version: str | None) -> None:
    file = tmp_path / "version"
    file.write_text(line + "\nGCC version:  gcc version 12.3.0 (Ubuntu 12.3.0-1ubuntu1~22.04)\n")
    assert _driver(file) == version
    assert _driver(tmp_path / "missing") is None
