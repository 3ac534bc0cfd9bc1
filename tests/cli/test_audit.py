"""`lbadvisor audit` and `lbadvisor explain` as their users type them."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.errors import UsageError
from lbadvisor.planning.audit.audit import audit_of

RECIPES = Path(__file__).parents[2] / "recipes"
TIMM = "./distributed_train.sh 8 /data --model resnet50 -b 512"


def run(*words):
    return CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_table_then_sentences():
    done = run("audit", TIMM)
    assert done.exit_code == 0
    head, *lines = done.stdout.splitlines()
    assert head == "timm at batch size 4,096"
    assert lines[0].split("  ")[-1] == "source"
    assert "timm scales linearly here, by 16; the square-root rule gives 4." in lines
    assert lines[-1].startswith("The whole plan, with its sources: lbadvisor plan --from 256 --to 4096 --lr 0.1")


def test_the_command_of_the_plan_shows_the_plan():
    body = json.loads(run("audit", TIMM, "--json").stdout)
    plan = json.loads(run(*body["plan_command"].split()[1:], "--json").stdout)
    lr = next(line["after"] for line in plan["adjustments"] if line["field"] == "optimizer.lr")
    assert lr == pytest.approx(body["planned_lr_factor"] * 0.1)


def test_words_after_a_double_dash_are_a_command_line_and_json_has_a_schema():
    body = json.loads(run("audit", "--json", "--from", "128", "--", *TIMM.split()).stdout)
    assert (body["schema"], body["trainer"], body["batch_size"], body["baseline_batch_size"]) == (1, "timm", 4096, 128)
    assert {line["what"]: line["plan"] for line in body["lines"]}["learning rate"] == pytest.approx(0.1 * 32**0.5)
    assert body["caveats"] == body["notes"]


@pytest.mark.parametrize("trainer", ["timm", "mmengine", "detectron2"])
def test_what_export_writes_is_read(tmp_path, trainer):
    """The exported learning rate is for its own batch size: no rule of the trainer scales it again."""
    text = run("export", str(RECIPES / "resnet44.toml"), "--to", "4096", "--for", trainer).stdout
    (tmp_path / "exported").write_text(text)
    body = json.loads(run("audit", str(tmp_path / "exported"), "--from", "4096", "--json").stdout)
    assert (body["batch_size"], body["lr_factor"]) == (4096, 1)
    assert body["lr"] == pytest.approx(0.1 * 32**0.5)


def test_a_wrong_setting_leaves_stdout_empty():
    done = run_process("audit", "nothing.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nothing.yaml: there is no such file")


def test_explain_without_a_topic_lists_them():
    lines = run("explain").stdout.splitlines()
    assert any(line.split()[0] == "ghost" for line in lines)
    assert run("explain", "ghost").stdout.startswith("# ghost: batch norm over slices of the batch\n")


@pytest.mark.parametrize("words", [("audit", TIMM), ("explain", "lr"), ("explain",)], ids=str)
def test_neither_torch_nor_the_database_is_loaded(words):
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'sqlalchemy', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_process(*words):
    return subprocess.run([sys.executable, "-m", "lbadvisor", *words], capture_output=True, text=True)


KEYS = ["batch_size", "lr_base", "opt", "opt_betas", "SOLVER", "IMS_PER_BATCH", "auto_scale_lr", "train_dataloader",
        "per_device_train_batch_size", "learning_rate", "optim_wrapper", "sync_bn", "_base_", "clip_grad"]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "sgd", "adamw", "1e-3", "a b", "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "lr", "optimizer"]), inner),
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), st.sampled_from([None, 1, 8]), st.booleans())
def test_any_file_is_read_or_refused(tmp_path_factory, values, devices, as_json):
    path = tmp_path_factory.mktemp("any") / "setting"
    path.write_text(json.dumps(values) if as_json else "\n".join(f"{key} = {value!r}" for key, value in values.items()))
    with contextlib.suppress(UsageError):
        assert audit_of([str(path)], None, devices, None).batch_size >= 1


WORDS = """train.py main_gbn.py -b 64 --lr 0.1 --opt adamw --nproc_per_node 0 SOLVER.BASE_LR --opt-betas --gpus nan
1e400 - --= a.b=c --mb ' SOLVER=3 --lr-base-size -mb"""


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(WORDS.split()), min_size=2, max_size=8))
def test_any_command_line_is_read_or_refused(words):
    with contextlib.suppress(UsageError):
        assert audit_of(words, None, None, 128).batch_size >= 1
