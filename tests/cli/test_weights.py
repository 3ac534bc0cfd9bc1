"""`lbadvisor runs export-weights` and `runs prune`: what becomes of a run's weights."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import MAGIC, checkpoints
from lbadvisor.training.checkpoints.content import read_content
from lbadvisor.training.data.sources import digits

ROOT = Path(__file__).parents[2]
DIGITS = str(ROOT / "recipes" / "digits.toml")
WORDS = ("train", DIGITS, "--to", "128", "--schedule-scale", "0.3", "--quiet")
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
SNIPPET = next(block for block in BLOCKS if "safe_open" in block)
"""What loads the weights in plain torch, as the README shows it."""


def trained(place, *words, name="a"):
    done = place.run(*WORDS, "--name", name, *words)
    assert done.returncode == 0, done.stderr


def test_the_snippet_for_plain_torch_evaluates_to_the_number_that_was_recorded(place):
    """Averaged weights, trained with ghost batch norm; loss and accuracy, to the last bit."""
    trained(place, "--set", "weight_ema.decay=0.9")
    done = place.run("runs", "export-weights", "a", "--out", "w.safetensors")
    assert (done.returncode, done.stdout) == (0, "")
    assert "wrote w.safetensors: a, averaged weights of update 122 of 122, 23 tensors" in done.stderr
    names = {}
    exec(SNIPPET, names)
    _, test = digits()
    with torch.inference_mode():
        logits = names["logits"](test.images_NCHW.float())
    accuracy = 100 * (logits.argmax(1) == test.labels_N).sum().item() / len(test.labels_N)
    loss = (nn.functional.cross_entropy(logits, test.labels_N, reduction="sum").double() / len(test.labels_N)).item()
    last = place.stored("a")[1][-1]
    assert (accuracy, loss) == (last.evaluation_accuracy_percent, last.evaluation_loss)


def test_the_metadata_say_what_the_weights_are(place):
    trained(place, "--seed", "3")
    assert place.run("runs", "export-weights", "1", "--out", "w.safetensors").returncode == 0
    with safe_open("w.safetensors", "pt") as file:
        known = file.metadata()
    assert {name: known[name] for name in ("run", "seed", "update", "classes", "shape", "network", "weights")} == {
        **{"run": "a", "seed": "3", "update": "122", "classes": "10", "shape": "[1, 8, 8]"},
        **{"network": "digits_mlp", "weights": "last"},
    }
    train, _ = digits()
    pixels = train.images_NCHW.double()
    assert json.loads(known["mean"]) == pytest.approx([pixels.mean().item()], rel=1e-6)
    assert json.loads(known["deviation"]) == pytest.approx([pixels.std(correction=0).item()], rel=1e-6)
    recipe = json.loads(known["recipe"])
    assert (recipe["batch"]["size"], recipe["batch_norm"]["ghost_batch_size"]) == (128, 32)


def test_averaged_or_last_weights_are_those_of_the_checkpoint(place):
    trained(place, "--set", "weight_ema.decay=0.9")
    for words in (["w.pt", "--pt", "--weights", "last"], ["v.pt", "--pt"]):
        assert place.run("runs", "export-weights", "a", "--out", *words).returncode == 0
    run, _ = place.stored("a")
    content = read_content(checkpoints(checkpoint_folder(place.database, run))[0], torch.device("cpu"))[1]
    last, averaged = (torch.load(file, weights_only=True) for file in ("w.pt", "v.pt"))
    assert list(last) == list(averaged) == list(content["model"])
    assert all(torch.equal(last[name], content["model"][name]) for name in last)
    parameters = [name for name in last if name.endswith(("weight", "bias"))]
    assert len(parameters) == len(content["averages"])
    for name, average in zip(parameters, content["averages"], strict=True):
        assert torch.equal(averaged[name], average)
        assert not torch.equal(averaged[name], last[name])


def test_a_torchvision_network_gets_its_weights_back(place):
    recipe = place.folder / "photos.toml"
    text = Path(DIGITS).read_text().replace('"digits_mlp"', '"torchvision:resnet18"').replace('"digits"', '"photos"')
    recipe.write_text(text.replace("1297", "8").replace("size = 32 ", "size = 8 "))
    for split in ("train", "test"):
        for number in range(8):
            file = place.folder / "data" / "photos" / split / f"c{number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((32, 32), 50 + number).convert("RGB").save(file)
    words = ("--set", "batch_norm.ghost_batch_size=4", "--name", "a", "--quiet")
    done = place.run("train", "photos.toml", *words)
    assert done.returncode == 0, done.stderr
    assert place.run("runs", "export-weights", "a", "--out", "w.safetensors").returncode == 0
    resnet18(num_classes=2).load_state_dict(load_file("w.safetensors"))


def test_a_checkpoint_of_an_earlier_version_gives_its_weights_without_the_normalization(place):
    trained(place)
    run, _ = place.stored("a")
    (path, *_) = checkpoints(checkpoint_folder(place.database, run))
    _, _, header, payload = path.read_bytes().split(b"\n", 3)
    kept = {key: value for key, value in json.loads(header).items() if key != "images"}
    body = json.dumps(kept).encode() + b"\n" + payload
    path.write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    done = place.run("runs", "export-weights", "a", "--out", "w.safetensors")
    assert done.returncode == 0
    assert "did not store how pixels are normalized" in done.stderr
    with safe_open("w.safetensors", "pt") as file:
        assert "mean" not in file.metadata()


def test_what_cannot_be_exported_is_said_and_nothing_is_written(place):
    trained(place)
    (place.folder / "there.safetensors").write_text("mine")
    for words, code, said in (
        (("a", "--out", "w.safetensors", "--weights", "averaged"), 2, "the run a has no averaged weights"),
        (("a", "--out", "w.pt"), 2, "without --pt, a safetensors file is written"),
        (("a", "--out", "w.safetensors", "--pt"), 2, "--pt writes a torch file"),
        (("a", "--out", "there.safetensors"), 2, "there.safetensors exists"),
        (("b", "--out", "w.safetensors"), 2, "no run is named 'b'"),
        (("a", "--out", "w.safetensors", "--db", "none.db"), 1, "no database at none.db"),
    ):
        done = place.run("runs", "export-weights", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
    assert (place.folder / "there.safetensors").read_text() == "mine"
    assert sorted(file.name for file in place.folder.iterdir()) == ["db", "there.safetensors"]


def test_pruning_frees_what_complete_runs_keep_and_what_needs_it_says_so(place):
    trained(place)
    trained(place, "--seed", "1", name="b")
    with Store.open(place.database, create=False) as store:
        store.set_status(2, RunStatus.STOPPED, "as if it had been")
    folders = [checkpoint_folder(place.database, place.stored(name)[0]) for name in ("a", "b")]
    size = sum(path.stat().st_size for path in checkpoints(folders[0]))
    before = place.stored("a")
    dry = place.run("runs", "prune", "--dry-run")
    freed = f"{size / 1e6:.1f} MB"
    assert dry.stdout == f"would free {freed}: the checkpoints of a ({freed}); nothing was done\n"
    refused = place.run("runs", "prune")
    assert (refused.returncode, "give --yes" in refused.stderr) == (3, True)
    assert len(checkpoints(folders[0])) == len(checkpoints(folders[1])) == 2
    done = place.run("runs", "prune", "a", "b", "--yes")
    assert done.returncode == 0
    assert "b is stopped, not complete: its checkpoints are kept" in done.stderr
    assert f"pruned a: {freed} freed, the results are kept" in done.stderr
    assert [len(checkpoints(folder)) for folder in folders] == [0, 2]
    assert place.stored("a") == before
    assert "nothing to prune" in place.run("runs", "prune", "--yes").stdout

    checked = json.loads(place.run("db", "check", "--json").stdout)
    assert (checked["faults"], checked["pruned"]) == ([], ["a"])
    said = "the checkpoints of the run a were pruned: its results are kept, but its weights are gone"
    exported = place.run("runs", "export-weights", "a", "--out", "w.safetensors")
    assert (exported.returncode, said in exported.stderr) == (1, True)
    assert re.search(r"^ *saved +pruned *$", place.run("runs", "show", "a").stdout, flags=re.M)
    resumed = place.run("resume", "a")
    assert (resumed.returncode, resumed.stdout.startswith("a is already complete")) == (0, True)
    assert said in resumed.stderr


def test_a_run_whose_checkpoints_are_gone_is_refused_beforehand_in_the_same_words(place):
    """By the check of the database, and by each dry run, as by the run itself."""
    trained(place)
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, "as if it had been")
    run, _ = place.stored("a")
    shutil.rmtree(checkpoint_folder(place.database, run))
    said = "the run a had reached update 122, but"
    for words in (
        ("resume", "a"),
        ("resume", "a", "--dry-run"),
        (*WORDS, "--name", "a"),
        (*WORDS, "--name", "a", "--dry-run"),
        ("ladder", DIGITS, "--to", "128", "--arms", "sb,ra", "--seeds", "1", "--schedule-scale", "0.3", "--dry-run"),
        ("ladder", DIGITS, "--to", "128", "--arms", "sb,ra", "--seeds", "1", "--schedule-scale", "0.3"),
        ("db", "check"),
    ):
        done = place.run(*words)
        assert (done.returncode, done.stdout, said in done.stderr) == (1, "", True), (words, done)
    assert len(json.loads(place.run("db", "check", "--json").stdout)["faults"]) == 1
