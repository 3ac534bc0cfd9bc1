"""The README tells the truth: its commands run, and print what it shows."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from lbadvisor.cli.app import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
COMMANDS = [
    line.removeprefix("$ ")
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
    if line.removeprefix("$ ").startswith("lbadvisor ")
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command line in a folder that holds the recipes and nothing else; its output as lines without blanks."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBADVISOR_DB", raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def invoke(command, *, only_stdout=False):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        capsys.readouterr()
        try:
            main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        out, err = capsys.readouterr()
        assert not code, err
        return [line.rstrip() for line in ((out if only_stdout else err + out).splitlines())]

    return invoke


def test_every_command_of_the_readme_runs_in_its_order_and_the_first_prints_what_it_shows(run):
    """The form to the letter; the numbers differ between processors, what they show does not."""
    assert len(COMMANDS) >= 8
    command, *shown = BLOCKS[0][1].splitlines()
    assert command == f"$ {COMMANDS[0]}"
    printed, *_ = [run(command, only_stdout=True) for command in COMMANDS]
    for lines in (printed, shown):
        header, *arms, legend, blank, sentence = lines
        assert re.split(r"  +", header) == [
            "arm", "runs", "updates", "accuracy, %", "gap, points", "gap, 95% interval", "closed",
            "closed, 95% interval", "step, points", "step, 95% interval",
        ]  # fmt: skip
        assert [row.split()[0] for row in arms] == ["SB", "LB", "+LR", "+GBN", "+RA"]
        assert legend == (
            "gap: error above SB's; step: accuracy gained on the row above; *: holds after Holm's correction for 7 "
            "comparisons"
        )
        assert blank == ""
        assert sentence.startswith("The naive large batch LB is ")
        accuracy, deviation = ({row.split()[0]: float(row.split()[i]) for row in arms} for i in (3, 5))
        for arm in ("SB", "+RA"):
            assert accuracy[arm] - accuracy["LB"] > 2 * (deviation[arm] + deviation["LB"])
        assert accuracy["SB"] > 96.5


def test_the_table_of_prices_is_the_plans(run):
    shown = next(text for kind, text in BLOCKS if kind == "text" and text.startswith("what it costs"))
    printed = run("lbadvisor plan recipes/resnet44.toml --to 4096")
    begin = next(i for i, line in enumerate(printed) if line.startswith("what it costs"))
    lines = shown.splitlines()
    assert printed[begin : begin + len(lines)] == lines


def test_the_table_of_recipes_is_complete_and_true(run):
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", README, flags=re.M))
    assert rows.keys() == {path.stem for path in (ROOT / "recipes").glob("*.toml")}
    for name, batch in rows.items():
        body = json.loads("\n".join(run(f"lbadvisor plan recipes/{name}.toml --to {int(batch) * 2} --json")))
        assert body["baseline"]["batch"]["size"] == int(batch)


def test_ci_runs_the_readmes_test_command():
    command = next(line for kind, text in BLOCKS for line in text.splitlines() if "pytest" in line)
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()
