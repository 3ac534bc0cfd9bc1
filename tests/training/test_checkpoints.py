"""A checkpoint is whole and of this training, or it is not loaded, whoever made it."""

import hashlib
import io
import json
import os
import pickle
import resource
import zipfile

import pytest
import torch

from lbadvisor.errors import CheckpointError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.checkpoints.checkpoint_file import (
    MAGIC,
    Header,
    checkpoints,
    clear_parts,
    read_checkpoint,
    update_of,
)
from lbadvisor.training.state import is_finite, load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "adam", "lr": 0.1},
    "schedule": {"updates": 30},
    "weight_ema": {"decay": 0.9},
}


def started(**tables):
    return start_state(Recipe.model_validate(BODY | tables), 0, (1, 8, 8), 10, CPU)


def trained(update=7, **tables):
    """A state with moments, as after a few updates."""
    state = started(**tables)
    for parameter in state.parameters:
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.update, state.seconds = update, 1.5
    return state


def made(path, header, payload):
    """A checkpoint of a stranger, who makes the checksum right."""
    body = header + b"\n" + payload
    path.write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return path


def parts_of(path):
    _, _, header, payload = path.read_bytes().split(b"\n", 3)
    return header, payload


def serialized(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_the_beginning_can_be_read_by_people(tmp_path):
    path = save_checkpoint(tmp_path, trained(), "a-run")
    format_line, checksum, header = path.read_bytes().split(b"\n", 3)[:3]
    assert format_line == b"lbadvisor checkpoint 1"
    assert len(checksum) == 64
    said = json.loads(header)
    assert (said["run"], said["recipe"], said["seed"], said["update"]) == ("a-run", "tiny", 0, 7)
    assert said["torch"] == torch.__version__
    assert len(said["recipe_hash"]) == 64


def test_a_checkpoint_cut_at_any_kilobyte_is_not_loaded(tmp_path):
    path = save_checkpoint(tmp_path, trained())
    whole = path.read_bytes()
    cuts = [*range(0, len(whole), 1024), *range(1, 400, 7), len(whole) - 1]
    assert len(cuts) > 200
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            load_checkpoint(path, started())


def test_a_checkpoint_with_any_bit_flipped_is_not_loaded(tmp_path):
    """At 200 places of the file, and at every one of the lines before the payload, the checksum itself among them."""
    path = save_checkpoint(tmp_path, trained())
    whole = path.read_bytes()
    lines = len(whole) - len(parts_of(path)[1])
    places = [*range(lines), *range(lines, len(whole), (len(whole) - lines) // 200)]
    assert len(places) > 200 + lines
    state = started()
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load_checkpoint(path, state)


HEADERS = {
    "no JSON": b"recipe: tiny",
    "no object": b"[]",
    "a number": b"7",
    "empty": b"",
    "nothing in it": b"{}",
    "absurdly nested": b"[" * 60_000,
    "absurdly long": b'{"recipe": "' + b"x" * 2**17 + b'"}',
    "not UTF-8": b'{"recipe": "\xff"}',
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_is_none_is_refused(tmp_path, header):
    path = save_checkpoint(tmp_path, trained())
    made(path, header, parts_of(path)[1])
    with pytest.raises(CheckpointError, match="the header of the checkpoint"):
        load_checkpoint(path, started())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("update", -1),
        ("update", 10**30),
        ("update", "7"),
        ("update", 31),
        ("threads", 0),
        ("threads", 10**6),
        ("micro_size", 0),
        ("micro_size", 101),
        ("seed", None),
        ("recipe_hash", 5),
    ],
)
def test_a_header_with_absurd_numbers_is_refused(tmp_path, name, value):
    path = save_checkpoint(tmp_path, trained())
    header, payload = parts_of(path)
    made(path, json.dumps(json.loads(header) | {name: value}).encode(), payload)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, started())


def test_a_header_from_before_the_run_was_noted_is_read(tmp_path):
    path = save_checkpoint(tmp_path, trained())
    header, payload = parts_of(path)
    old = {key: value for key, value in json.loads(header).items() if key not in ("run", "micro_size")}
    found, _ = read_checkpoint(made(path, json.dumps(old).encode(), payload))
    assert isinstance(found, Header)
    assert (found.run, found.micro_size, found.update) == (None, None, 7)


class Bomb:
    """What runs a command once it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_pickle_bomb_does_not_go_off(tmp_path):
    path, fuse = save_checkpoint(tmp_path, trained()), tmp_path / "it went off"
    header, payload = parts_of(path)
    bombs = [serialized({"model": Bomb(fuse)}), pickle.dumps(Bomb(fuse)), pickle.dumps({"model": Bomb(fuse)}, 0)]
    # In torch's own archive, in the place of the pickle that it reads.
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(payload)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, pickle.dumps(Bomb(fuse)) if entry.filename.endswith("data.pkl") else old.read(entry))
    for bomb in [*bombs, buffer.getvalue(), b"", b"junk" * 1000]:
        made(path, header, bomb)
        with pytest.raises(CheckpointError, match="was not saved by a training"):
            load_checkpoint(path, started())
    assert not fuse.exists()


def test_an_archive_that_swells_is_not_unpacked(tmp_path):
    path = save_checkpoint(tmp_path, trained())
    header, payload = parts_of(path)
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(payload)) as old,
        zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, b"\0" * 10**6 if "/data/" in entry.filename else old.read(entry))
    with pytest.raises(CheckpointError, match="it is compressed"):
        load_checkpoint(made(path, header, buffer.getvalue()), started())


def test_a_file_larger_than_any_state_of_the_network_is_not_read(tmp_path):
    path = save_checkpoint(tmp_path, trained())
    with path.open("r+b") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(CheckpointError, match=f"its {2**40} bytes"):
        load_checkpoint(path, started())


def changed(content, part, *path, value):
    inner = content[part]
    for key in path[:-1]:
        inner = inner[key]
    if path:
        inner[path[-1]] = value
    else:
        content[part] = value
    return content


FOREIGN = {
    "a weight of another shape": ("model", "1.weight", torch.zeros(3)),
    "a weight of another type": ("model", "1.weight", torch.zeros(64, 64, dtype=torch.float64)),
    "a weight too many": ("model", "extra", torch.zeros(3)),
    "no weights": ("model", None),
    "weights that are a list": ("model", [torch.zeros(3)]),
    "averages of another number": ("averages", [torch.zeros(3)]),
    "no averages": ("averages", None),
    "an interval of another shape": ("interval", torch.zeros(4, dtype=torch.float64)),
    "seconds that are none": ("seconds", "long"),
    "seconds without end": ("seconds", float("inf")),
    "a moment of another shape": ("optimizer", "state", 0, "exp_avg", torch.zeros(3)),
    "a moment that is a word": ("optimizer", "state", 0, "exp_avg", "word"),
    "a parameter that is not there": ("optimizer", "state", 999, {"step": torch.tensor(1.0)}),
    "a parameter counted from behind": ("optimizer", "state", -1, {"step": torch.tensor(1.0)}),
    "other betas": ("optimizer", "param_groups", 0, "betas", (0.5, 0.5)),
    "a group too many": ("optimizer", "param_groups", [{"params": [0]}, {"params": [1]}]),
    "a setting that is a tensor": ("optimizer", "param_groups", 0, "eps", torch.ones(3)),
    "other parameters": ("optimizer", "param_groups", 0, "params", [0, 0]),
    "no optimizer": ("optimizer", 7),
    "no groups": ("optimizer", "param_groups", None),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_none_of_the_recipes_training_is_not_loaded(tmp_path, change):
    path = save_checkpoint(tmp_path, trained())
    header, payload = parts_of(path)
    content = torch.load(io.BytesIO(payload), weights_only=True)
    names = list(content["model"])
    part, *inner, value = change
    inner = [names[0] if key == "1.weight" else key for key in inner]
    content = changed(content, part, *inner, value=value)
    with pytest.raises(CheckpointError, match="does not fit the recipe's training"):
        load_checkpoint(made(path, header, serialized(content)), started())


def test_an_optimizer_of_a_torch_that_knows_a_setting_more_or_less_is_loaded(tmp_path):
    path = save_checkpoint(tmp_path, trained())
    header, payload = parts_of(path)
    content = torch.load(io.BytesIO(payload), weights_only=True)
    group = content["optimizer"]["param_groups"][0]
    group["a_new_setting"] = group.pop("maximize")
    assert load_checkpoint(made(path, header, serialized(content)), started()).update == 7


def test_the_scheduled_rates_of_a_checkpoint_may_be_any(tmp_path):
    state = trained()
    state.optimizer.param_groups[0]["lr"] = 0.001
    assert load_checkpoint(save_checkpoint(tmp_path, state), started()).update == 7


def test_a_damaged_file_does_not_push_out_a_sound_one(tmp_path):
    """A damaged newest one was passed over; the next save keeps the sound one before it."""
    for update in (5, 10):
        newest = save_checkpoint(tmp_path, trained(update))
    newest.write_bytes(b"damaged")
    save_checkpoint(tmp_path, trained(7))
    assert [update_of(path) for path in checkpoints(tmp_path)] == [7, 5]
    save_checkpoint(tmp_path, trained(8))
    assert [update_of(path) for path in checkpoints(tmp_path)] == [8, 7]


def test_what_a_kill_left_half_written_is_taken_away(tmp_path):
    (tmp_path / ".update-0000000007.ckpt.123.part").write_bytes(b"half")
    path = save_checkpoint(tmp_path, trained())
    clear_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_is_not_finite_is_told_from_one_that_is():
    state = trained()
    assert is_finite(state)
    state.interval[0] = float("inf")
    assert not is_finite(state)
    state.interval[0] = 0.0
    with torch.no_grad():
        state.parameters[-1][0] = float("nan")
    assert not is_finite(state)


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path):
    """A real limit of the operating system: no file may grow above a hundred kilobytes."""
    first = save_checkpoint(tmp_path, trained(5))
    assert first.stat().st_size > 100_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written \(File too large\)"):
            save_checkpoint(tmp_path, trained(6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [first]
    assert load_checkpoint(first, started()).update == 5
