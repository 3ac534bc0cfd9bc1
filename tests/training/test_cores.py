"""The cores that a process may use, from the files in which Linux says so; and who used them."""

from pathlib import Path

import pytest
import torch

from lbadvisor.training import cores

STAT = """\
cpu  500 10 90 4000 50 1 2 3 0 0
cpu0 300 0 50 1000 30 1 0 0 0 0
cpu1 100 10 30 1500 10 0 2 3 0 0
cpu12 100 0 10 1500 10 0 0 0 0 0
intr 123 4 5
ctxt 1000
"""


def test_idle_time_and_waiting_for_a_disk_are_not_busy() -> None:
    """Of 100 ticks a second: 351 on core 0, 145 on core 1, 110 on core 12."""
    assert cores.busy_seconds(STAT, frozenset({0}), 100) == 3.51
    assert cores.busy_seconds(STAT, frozenset({1, 12}), 100) == 2.55
    assert cores.busy_seconds(STAT, frozenset({2}), 100) == 0


def test_a_thread_waits_in_nanoseconds() -> None:
    """It ran for 4 s in 99 slices, and waited for 1.5 s."""
    assert cores.waited_seconds("4000000000 1500000000 99\n") == 1.5


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="only Linux says it")
def test_what_this_process_used_is_read_from_the_system() -> None:
    before = cores.Usage.now()
    sum(range(3_000_000))
    after = cores.Usage.now()
    assert before is not None
    assert after is not None
    assert after.own - before.own > 0
    assert after.busy >= before.busy
    assert all(after.waits[thread] >= wait for thread, wait in before.waits.items() if thread in after.waits)


def test_another_system_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "PROCESSES", tmp_path)
    assert cores.Usage.now() is cores.quota_cores() is None


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control groups, as a system without limits has it."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "PROCESSES", tmp_path / "proc")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write(tmp_path / "proc" / "self" / "cgroup", "0::/system.slice/docker-1.scope\n")
    return tmp_path / "cgroup"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_least_quota_of_the_groups_that_hold_the_process_counts(groups: Path) -> None:
    """Version 2: microseconds of CPU in a period of as many, `max` for no limit."""
    assert cores.quota_cores() is None
    write(groups / "system.slice" / "docker-1.scope" / "cpu.max", "max 100000\n")
    assert cores.quota_cores() is None
    write(groups / "system.slice" / "cpu.max", "350000 100000\n")
    assert cores.quota_cores() == 3.5
    write(groups / "system.slice" / "docker-1.scope" / "cpu.max", "150000 50000\n")
    assert cores.quota_cores() == 3
    write(groups / "system.slice" / "another.scope" / "cpu.max", "50000 100000\n")
    assert cores.quota_cores() == 3


def test_in_a_container_its_own_group_is_the_root(groups: Path) -> None:
    write(groups / "cpu.max", "200000 100000\n")
    assert cores.quota_cores() == 2


def test_the_first_version_has_a_folder_for_each_controller(groups: Path) -> None:
    write(groups.parent / "proc" / "self" / "cgroup", "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n")
    write(groups / "cpu" / "box" / "cpu.cfs_quota_us", "-1\n")
    write(groups / "cpu" / "box" / "cpu.cfs_period_us", "100000\n")
    assert cores.quota_cores() is None
    write(groups / "cpu" / "box" / "cpu.cfs_quota_us", "250000\n")
    assert cores.quota_cores() == 2.5


@pytest.mark.parametrize(
    ("quota", "torchs", "threads"),
    [("max", 4, 4), ("800000", 4, 4), ("250000", 4, 2), ("50000", 4, 1), ("250000", 1, 1)],
)
def test_a_training_has_no_more_threads_than_its_quota_has_cores(
    groups: Path, quota: str, torchs: int, threads: int
) -> None:
    """Half a core is one thread."""
    write(groups / "cpu.max", f"{quota} 100000\n")
    with cores.torch_threads_kept():
        torch.set_num_threads(torchs)
        assert cores.default_threads() == threads


def test_omp_num_threads_is_obeyed(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(groups / "cpu.max", "100000 100000\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with cores.torch_threads_kept():
        torch.set_num_threads(3)
        assert cores.default_threads() == 3
