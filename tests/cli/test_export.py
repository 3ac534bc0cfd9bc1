"""`lbadvisor export`: text on stdout, what it lacks on stderr too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

from lbadvisor.cli.commands.export import Trainer
from lbadvisor.planning.export.trainers import TRAINERS

RECIPES = Path(__file__).parents[2] / "recipes"
RESNET44 = str(RECIPES / "resnet44.toml")
EXPORT = ("export", RESNET44, "--to", "4096", "--for")


def test_the_text_is_on_stdout_and_what_it_lacks_in_it_and_on_stderr(place):
    done = place.run(*EXPORT, "timm")
    assert done.returncode == 0
    assert "\nplanned=(\n  --batch-size 4096" in done.stdout
    assert "# - ghost batch norm: in the plan 128 examples share batch-norm statistics" in done.stdout
    assert "not expressed in timm: ghost batch norm: in the plan 128 examples share" in done.stderr
    assert "warning weight-decay-horizon: the weight decay is kept" in done.stderr


def test_a_recipe_without_a_target_is_exported_as_it_is(place):
    done = place.run("export", RESNET44, "--for", "mmengine")
    assert "batch_size=128," in done.stdout
    assert "lr=0.1," in done.stdout
    assert "warning" not in done.stderr


def test_the_same_options_adapt_as_in_plan(place):
    done = place.run(*EXPORT, "timm", "--lr-rule", "linear", "--adapt", "lr", "--set", "optimizer.lr=0.2")
    # 0.2 * 32; without the regime 200 epochs stay 200.
    assert "--lr 6.4 " in done.stdout
    assert "--clip-grad" not in done.stdout
    assert "UPDATES = 2441 " in place.run(*EXPORT, "torch", "--arm", "lr").stdout


def test_json_has_every_line_with_its_comment(place):
    body = json.loads(place.run(*EXPORT, "detectron2", "--devices", "8", "--json").stdout)
    assert (body["schema"], body["trainer"], body["language"]) == (1, "detectron2", "yaml")
    (rate,) = (line for line in body["lines"] if line["text"].startswith("  BASE_LR:"))
    assert rate["comment"].startswith("0.1 -> 0.565685, sqrt: lr * sqrt(r) (Hoffer")
    assert rate["text"] in body["text"]
    assert any(sentence.startswith("the clipping warm-up") for sentence in body["cannot"])


def test_out_writes_the_text_and_overwrites_nothing_unasked(place):
    text = place.run(*EXPORT, "torch").stdout
    done = place.run(*EXPORT, "torch", "--out", "planned.py")
    assert (done.returncode, done.stdout) == (0, "")
    assert Path("planned.py").read_text() == text
    refused = place.run(*EXPORT, "torch", "--out", "planned.py")
    assert refused.returncode == 2
    assert "planned.py exists: give another --out, or --force to replace it" in refused.stderr
    assert place.run(*EXPORT, "timm", "--out", "planned.py", "--force").returncode == 0
    assert "planned=(" in Path("planned.py").read_text()


def test_devices_that_do_not_divide_the_batch_are_refused(place):
    done = place.run(*EXPORT, "timm", "--devices", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "4,096 examples cannot be shared equally by 3 devices" in done.stderr


def test_the_trainers_of_the_option_are_those_that_there_are():
    assert get_args(Trainer) == tuple(TRAINERS)


def test_an_unknown_trainer_is_refused_with_the_known_ones(place):
    done = place.run(*EXPORT, "keras")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'timm', 'lightning', 'transformers', 'torchtitan', 'mmengine', 'detectron2'" in done.stderr


def test_an_export_loads_no_torch():
    program = (
        "import sys\n"
        "from lbadvisor.cli.app import app\n"
        f"sys.argv = ['lbadvisor', *{EXPORT!r}, 'lightning']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not {'torch', 'numpy', 'sqlalchemy', 'optuna'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
