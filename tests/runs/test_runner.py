"""A run is recorded with its guarantee, and survives what happens to it. In this process, on real digits."""

import dataclasses
import hashlib
import resource
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from typing import NamedTuple

import pytest
import torch

from lbadvisor.errors import CheckpointError, DivergedError, RefusedError, StoreError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Guarantee, RunStatus
from lbadvisor.runs import recording, runner
from lbadvisor.runs.runner import Progress, RunRequest, Started, find_earlier, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, update_of
from lbadvisor.training.checkpoints.content import read_content
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "schedule": {"updates": 60},
    "measurements": {"every_updates": 3, "evaluate_every_updates": 20},
}


class Asked(NamedTuple):
    """A workspace, and what is asked for in it."""

    workspace: Workspace
    request: RunRequest

    @property
    def database(self):
        return self.workspace.store.address


@pytest.fixture
def request_of(tmp_path):
    """A request of digits; the tables given take the place of the recipe's."""

    def make(name="a", micro=None, **tables):
        recipe = Recipe.model_validate(BODY | tables)
        workspace = Workspace(Store.at(tmp_path / "runs.db"), Machine(CPU, tmp_path, micro))
        return Asked(workspace, RunRequest(recipe, None, name, 0))

    return make


def trained(request, until=None):
    """Train to the end, or stop after an update; the events."""
    events, seen = train_run(*request), []
    for event in events:
        seen.append(event)
        if isinstance(event, Progress) and event.update == until:
            events.close()
    return seen


def notes(events):
    return [note for event in events if isinstance(event, Started) for note in event.notes]


def stored(request):
    with Store.open(request.database, create=False) as store:
        run = store.run(request.request.name)
        return run, [dataclasses.replace(m, seconds=0.0) for m in store.measurements(run.number)]


def saved(request):
    return checkpoints(checkpoint_folder(request.database, stored(request)[0]))


def weights(request):
    return {name: t.numpy().tobytes() for name, t in read_content(saved(request)[0], CPU)[1]["model"].items()}


def change(request, sql):
    with closing(sqlite3.connect(request.database)) as connection, connection:
        connection.execute(sql)


def test_a_run_is_promised_its_bits_and_a_resume_in_the_same_place_keeps_them(request_of):
    straight, broken = request_of("straight"), request_of("broken")
    trained(straight)
    trained(broken, until=31)
    assert stored(broken)[0].guarantee is Guarantee.BIT_EXACT
    assert notes(trained(broken)) == []
    assert stored(broken)[0].guarantee is Guarantee.BIT_EXACT
    assert stored(broken)[1] == stored(straight)[1]
    assert weights(broken) == weights(straight)


@pytest.mark.parametrize(
    ("column", "value"),
    [("device_name", "Another GPU"), ("torch_version", "1.0.0"), ("lbadvisor_version", "0.0.1")],
)
def test_a_run_that_goes_on_elsewhere_is_promised_its_order_only(request_of, column, value):
    request = request_of()
    trained(request, until=31)
    change(request, f"UPDATE runs SET {column} = '{value}'")
    said = notes(trained(request, until=40))
    assert len(said) == 1
    assert f"{column}: {value} there, " in said[0]
    assert "the order of examples is the same, but the bits are not" in said[0]
    assert stored(request)[0].guarantee is Guarantee.SAME_ORDER
    change(request, f"UPDATE runs SET {column} = (SELECT {column} FROM runs)")
    trained(request)
    assert stored(request)[0].guarantee is Guarantee.SAME_ORDER


def test_other_micro_batches_or_too_few_threads_cost_the_bits(request_of, monkeypatch):
    ghosts = {"batch_norm": {"ghost_batch_size": 25}}
    request = request_of("micro", 50, **ghosts)
    trained(request, until=31)
    assert "equal up to rounding, not bit for bit" in notes(trained(request_of("micro", 25, **ghosts)))[0]
    assert stored(request)[0].guarantee is Guarantee.SAME_ORDER

    request = request_of("threads")
    trained(request, until=58)
    assert stored(request)[0].guarantee is Guarantee.BIT_EXACT
    note_threads(saved(request)[0], 2)
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_THREAD_LIMIT", "1")
        assert "threads: 2 there, fewer here" in notes(trained(request))[0]
    finally:
        torch.set_num_threads(before)
    assert stored(request)[0].guarantee is Guarantee.SAME_ORDER


def note_threads(path, threads):
    """Let the checkpoint be one of a run on so many threads."""
    magic, _, body = path.read_bytes().split(b"\n", 2)
    assert b'"threads": 1,' in body
    body = body.replace(b'"threads": 1,', f'"threads": {threads},'.encode(), 1)
    path.write_bytes(magic + b"\n" + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def test_there_is_a_checkpoint_before_the_first_update(request_of):
    request = request_of()
    events = train_run(*request)
    while not isinstance(next(events), Progress):
        pass
    assert [update_of(path) for path in saved(request)] == [0]
    events.close()
    assert [update_of(path) for path in saved(request)] == [1, 0]


def test_the_states_before_a_divergence_are_kept_and_none_after_it(request_of, monkeypatch):
    """Saved after every update: none of the states that were saved is one that had diverged."""
    monkeypatch.setattr(recording, "SAVING_SHARE", 1e9)
    # At this rate the weights overflow within some updates, long before the next measurement is due.
    request = request_of(
        optimizer={"name": "sgd", "lr": 1e12},
        checkpoints={"every_seconds": 1e-9},
        measurements={"every_updates": 50},
    )
    with pytest.raises(DivergedError, match=r"the earlier state, of update \d+, is kept; lower optimizer.lr"):
        trained(request)
    run, _ = stored(request)
    assert run.status is RunStatus.DIVERGED
    assert 0 < len(saved(request)) <= 2
    for path in saved(request):
        header, content = read_content(path, CPU)
        assert header.update < 50
        assert all(tensor.isfinite().all() for name, tensor in content["model"].items() if name.endswith("weight"))
        assert content["interval"].isfinite().all()

    # Gone on with, it says what became of it and what to expect.
    again = train_run(*request)
    event = next(event for event in again if isinstance(event, Started))
    assert event.update == update_of(saved(request)[0]) > 0
    assert "diverges again unless the hardware was at fault" in event.notes[0]
    with pytest.raises(DivergedError):
        list(again)


def test_a_run_stopped_after_it_diverged_ends_as_diverged(request_of):
    """The loss is looked at when it is measured: a stop before that does not save what is not finite."""
    request = request_of(optimizer={"name": "sgd", "lr": 1e30}, measurements={"every_updates": 50})
    with pytest.raises(DivergedError):
        trained(request, until=30)
    assert stored(request)[0].status is RunStatus.DIVERGED
    assert [update_of(path) for path in saved(request)] == [0]


def test_a_jump_of_the_loss_at_a_resume_is_said_and_an_exact_one_says_nothing(request_of):
    """The measured losses are changed to those of a run that had learned everything, and stopped there."""
    request = request_of()
    trained(request, until=40)
    change(request, 'UPDATE measurements SET loss = 0.001 + 0.0001 * ("update" % 2)')
    (said,) = [event.note for event in trained(request) if isinstance(event, Progress) and event.note]
    assert said.startswith("the loss jumped when a was resumed: 0.001 before, ")
    assert "at update 42" in said
    exact = request_of("exact")
    trained(exact, until=40)
    assert not any(event.note for event in trained(exact) if isinstance(event, Progress))


# An interrupt while a file is opened or a folder is listed leaves that to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(_io.FileIO|posix.Scandir):pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
def test_an_interrupt_within_an_update_leaves_the_last_checkpoint(request_of, share, monkeypatch):
    """A KeyboardInterrupt at some moment of training, wherever that is: what is on the disk is whole."""
    monkeypatch.setattr(recording, "SAVING_SHARE", 0.5)
    long = {"schedule": {"updates": 600}, "checkpoints": {"every_seconds": 1e-9}}
    straight, broken = request_of("straight", **long), request_of("broken", **long)
    began = time.process_time()
    trained(straight)
    seconds = time.process_time() - began

    def interrupt(*_):
        raise KeyboardInterrupt

    # By processor time, which does not pass while the process waits for a processor.
    earlier = signal.signal(signal.SIGPROF, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            for event in (events := train_run(*broken)):
                if isinstance(event, Started):
                    signal.setitimer(signal.ITIMER_PROF, share * seconds)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, earlier)
    events.close()
    assert stored(broken)[0].status is RunStatus.STOPPED
    trained(broken)
    assert stored(broken)[0].guarantee is Guarantee.BIT_EXACT
    assert weights(broken) == weights(straight)
    assert stored(broken)[1] == stored(straight)[1]


def test_a_run_whose_checkpoints_are_gone_does_not_begin_again(request_of):
    request = request_of()
    trained(request, until=31)
    before = stored(request)
    shutil.rmtree(saved(request)[0].parent)
    with pytest.raises(CheckpointError, match=r"had reached update 31, but .* has no checkpoint"):
        trained(request)
    assert stored(request) == before


def test_a_run_that_could_not_be_saved_even_once_begins_again(request_of):
    request = request_of()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Store.open(request.database, create=True):
        pass
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises((CheckpointError, StoreError)):
            trained(request)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    trained(request)
    assert stored(request)[0].status is RunStatus.COMPLETE


def test_a_folder_for_checkpoints_that_cannot_be_made_is_named(request_of, tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"checkpoints/runs/1-.* for the run's checkpoints cannot be written"):
        trained(request_of())


def test_a_second_process_that_comes_in_while_the_first_begins_is_refused(request_of):
    """Both asked for the run before either had made it: the second finds it made, and locked."""
    request = request_of()
    first, second = train_run(*request), train_run(*request)
    while not isinstance(next(first), Started):
        pass
    with pytest.raises(RefusedError, match="another process is training the run a"):
        list(second)
    first.close()


def test_a_database_that_another_process_is_just_making_holds_no_earlier_run(request_of):
    """The file is there before its tables are."""
    request = request_of()
    request.database.touch()
    assert find_earlier(request.workspace.store, request.request) is None
    trained(request, until=5)
    assert find_earlier(request.workspace.store, request.request).name == "a"


def test_a_save_that_takes_long_is_made_less_often(request_of, monkeypatch):
    """A save of 20 ms at an interval of nothing: the next one waits minutes, whatever the recipe says."""
    monkeypatch.setattr(recording, "SAVING_SHARE", 1e-4)
    slept = []
    save = recording.save_checkpoint

    def slow(*words):
        slept.append(time.sleep(0.02))
        return save(*words)

    monkeypatch.setattr(recording, "save_checkpoint", slow)
    trained(request_of(checkpoints={"every_seconds": 1e-9}))
    assert len(slept) == 2, "the first and the last state"


def test_a_run_closed_as_it_begins_is_stopped_and_resumes(request_of):
    """Not left as running, as whoever follows it may be gone by then; a stopped run keeps what it had."""
    request = request_of()
    for update in (0, 30):
        events = train_run(*request)
        assert any(isinstance(event, Started) for event in events)  # and takes no more of them
        events.close()
        run = stored(request)[0]
        assert (run.status, run.update) == (RunStatus.STOPPED, update)
        trained(request, until=30)
    trained(request)
    assert stored(request)[0].status is RunStatus.COMPLETE


def test_a_stop_behind_the_last_update_completes_the_run(request_of):
    request = request_of()
    trained(request, until=60)
    assert stored(request)[0].status is RunStatus.COMPLETE


def test_a_resume_keeps_the_shares_unless_others_are_asked_for(request_of):
    """Which is said, and costs the bits."""
    asked = request_of(batch_norm={"ghost_batch_size": 10})
    assert notes(trained(in_shares(asked, 2), until=10)) == ["each update is computed in 2 shares, one after the other"]
    assert notes(trained(asked, until=20)) == ["each update is computed in 2 shares, one after the other"]
    assert (stored(asked)[0].shares, stored(asked)[0].guarantee) == (2, Guarantee.BIT_EXACT)
    assert notes(trained(in_shares(asked, 5), until=30))[-1] == (
        "saved by 1 rank in 2 shares, resumed by 1 rank in 5 shares: equal up to rounding, not bit for bit"
    )
    assert (stored(asked)[0].shares, stored(asked)[0].guarantee) == (5, Guarantee.SAME_ORDER)


def in_shares(asked, shares):
    workspace = asked.workspace
    return asked._dataclasses.replace(
        workspace=dataclasses.replace(workspace, machine=dataclasses.replace(workspace.machine, shares=shares))
    )


def test_a_network_whose_buffers_ranks_do_not_share_is_promised_its_order_only(request_of, monkeypatch):
    monkeypatch.setattr(runner, "own_buffers_note", lambda state: f"buffers of {state.ranks.size} rank")
    asked = request_of()
    assert notes(trained(asked, until=10)) == ["buffers of 1 rank"]
    assert stored(asked)[0].guarantee is Guarantee.SAME_ORDER
