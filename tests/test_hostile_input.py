"""Bad recipes and bad command lines, made by the thousand: an error of one kind or another, and nothing is written.

Each is run as a user would, through the program's `main`, in this process.
"""

import contextlib
import io
import os
import string
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbadvisor.cli.app import main
from lbadvisor.errors import LbadvisorError
from lbadvisor.recipe.file import load_recipe

DIGITS = Path(__file__).parents[1] / "recipes" / "digits.toml"
TEXT = DIGITS.read_text()
LINES = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
KEPT = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own; what is left in it is a file half written."""
    for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LBADVISOR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def refused(folder, *words, left=()):
    """Run it; it must fail in one of the three ways, say why in plain words, and leave nothing but `left`."""
    before, out, err = sys.argv, io.StringIO(), io.StringIO()
    sys.argv, code = ["lbadvisor", *words], 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = before
    assert code in (1, 2, 3), (words, code, err.getvalue())
    # `db` alone prints its help, as `lbadvisor` alone does.
    assert out.getvalue() == "" or words[0] == "db", words
    assert err.getvalue().strip() or words[0] == "db", words
    assert "Traceback" not in err.getvalue()
    assert "error: unexpected" not in err.getvalue(), (words, err.getvalue())
    assert {path.name for path in folder.parent.iterdir()} == {"here"}
    assert {path.name for path in folder.iterdir()} == set(left), words
    return err.getvalue()


ABSURD = st.one_of(
    st.sampled_from(
        [
            *("-1", "0", "1e400", "nan", "inf", "-inf", "9" * 400, "1" + "0" * 5000, "0x" + "f" * 300, "true", "[]"),
            *("{}", '""', "'../../etc/passwd'", '"/etc/passwd"', '"a/b"', '"\\u0000"', '"\\u001b[31m"', '"a\\nb"'),
            *("1979-05-27", "07:32:00", "[" * 90 + "]" * 90, '"' + "x" * 5000 + '"', "[1, 2]", "{a = 1}", '"\\ud800"'),
        ]
    ),
    st.integers(min_value=2**53 + 1).map(str),
    st.integers(max_value=-1).map(str),
    st.text(max_size=20).map(lambda text: '"' + text.replace("\\", "/").replace('"', "'") + '"'),
)
KEYS = [
    *("name", "data.name", "data.train_examples", "model.name", "batch.size", "optimizer.name", "optimizer.lr"),
    *("optimizer.momentum", "schedule.epochs", "schedule.milestones", "schedule.milestones[0].epoch", "schema"),
    *("measurements.every_epochs", "checkpoints.every_seconds", "batch_norm.ghost_batch_size", "clipping.max_norm"),
]


def is_bad(file, *overrides):
    """Whether the library refuses the recipe: what it takes is not bad, and would be trained."""
    try:
        load_recipe(file, overrides)
    except LbadvisorError:
        return True
    return False


def test_absurd_values_are_refused(folder):
    counted = []

    @settings(KEPT, max_examples=800)
    @given(key=st.sampled_from(KEYS), value=ABSURD)
    def check(key, value):
        if is_bad(DIGITS, f"{key}={value}"):
            counted.append(1)
            said = refused(folder, "train", str(DIGITS), "--set", f"{key}={value}")
            assert "--set" in said or "digits.toml" in said

    check()
    assert len(counted) > 500


def test_mangled_recipes_are_refused(folder):
    """Lines lost, doubled, or filled with something else: text, absurd values, absurd nesting."""
    counted, file = [], folder / "bad.toml"

    @settings(KEPT, max_examples=800)
    @given(data=st.data())
    def check(data):
        lines = list(LINES)
        kinds = st.sampled_from(["drop", "double", "text", "key", "value", "nest", "header"])
        for _ in range(data.draw(st.integers(1, 3))):
            place, kind = data.draw(st.integers(0, len(lines) - 1)), data.draw(kinds)
            match kind:
                case "drop":
                    del lines[place]
                case "double":
                    lines.insert(place, lines[place])
                case "text":
                    lines[place] = data.draw(st.text(max_size=40))
                case "key":
                    lines[place] = data.draw(st.text(string.ascii_lowercase + "._-", min_size=1, max_size=20)) + " = 1"
                case "value":
                    lines[place] = lines[place].split("=")[0] + "= " + data.draw(ABSURD)
                case "nest":
                    depth = data.draw(st.sampled_from([50, 150, 3000, 200_000]))
                    lines[place] = data.draw(st.sampled_from(["a = " + "[" * depth, "a" + ".a" * depth + " = 1"]))
                case "header":
                    lines[place] = "[" + data.draw(st.text(max_size=20)) + "]"
        file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        if is_bad(file):
            counted.append(1)
            assert "bad.toml" in refused(folder, "train", "bad.toml", left=["bad.toml"])
        file.unlink()

    check()
    assert len(counted) > 500


@settings(KEPT, max_examples=200)
@given(content=st.binary(max_size=400))
def test_a_file_of_any_bytes_is_no_recipe(folder, content):
    (folder / "bad.toml").write_bytes(content)
    for command in (("train", "bad.toml"), ("plan", "bad.toml", "--to", "4096"), ("verify-resume", "bad.toml")):
        assert "bad.toml" in refused(folder, *command, left=["bad.toml"])
    (folder / "bad.toml").unlink()


NAMES = st.one_of(
    st.sampled_from(
        [
            *("../x", "..", ".", "/", "/etc/passwd", "a/b", "a\\b", "a\x00b", "a\nb", "\x1b[2J", "", " ", "-", "7"),
            *("a" * 101, "é", "\u202eabc", "a b", "con:", "~", "$HOME", "*", "\ud800"),
        ]
    ),
    st.text(min_size=1, max_size=30).filter(lambda text: not set(text) <= set(string.ascii_letters + "0123456789._+-")),
)


def test_names_that_are_none_are_refused(folder):
    """Of runs, data sets and networks; none leads out of its folder."""
    counted = []

    @settings(KEPT, max_examples=250)
    @given(name=NAMES)
    def check(name):
        lines = [("train", str(DIGITS), f"--name={name}")]
        if not name.startswith("-"):
            lines += [("resume", name), ("runs", "show", name)]
        literal = '"' + "".join(f"\\U{ord(c):08x}" for c in name) + '"'
        for key in ("data.name", "model.name", "name"):
            if is_bad(DIGITS, f"{key}={literal}"):
                lines.append(("train", str(DIGITS), "--set", f"{key}={literal}"))
        for line in lines:
            counted.append(1)
            refused(folder, *line)

    check()
    assert len(counted) > 1000


WORDS = st.one_of(
    st.sampled_from(
        [
            *(
                "train",
                "plan",
                "resume",
                "compare",
                "runs",
                "show",
                "db",
                "check",
                "upgrade",
                "verify-resume",
                "curves",
            ),
            *("--to", "--from", "--adapt", "--set", "--name", "--seed", "--device", "--micro", "--db", "--data-dir"),
            *("--ghost", "--updates", "--at", "--precision", "--lr-rule", "--schedule-scale", "--status", "--betas"),
            *("--stretch-share", "--epochs-budget", "--range", "--seeds", "--arms", "--arm", "--exponents", "--trials"),
            *(
                "--html",
                "--png",
                "--out",
                "--force",
                "--by",
                "--weight-decay",
                "--lr",
                "--epochs",
                "--examples",
                "--md",
            ),
            *("inf", "-inf", "1e308", "9" * 300, str(2**63), "sb,lb:99999999", "none/x.html", "--dry-run", "--csv"),
            *("--json", "--quiet", "--debug-", "--no-such", "4096", "-1", "0", "nan", "1e999", "9" * 50, "lr,,ghost"),
            *("nowhere.toml", ".", "/", "/dev/null", "a=b", "=", "optimizer.lr=", "[", "--", "-q", "-z"),
        ]
    ),
    st.text(max_size=12),
)
SENSIBLE = {"-h", "--help", "--version", "models", "schema", "path", "--from"}
"""With one of these a line may have some sense, and succeed."""


def test_command_lines_without_sense_are_refused(folder):
    counted = []

    @settings(KEPT, max_examples=1000)
    @given(words=st.lists(WORDS, min_size=1, max_size=7))
    def check(words):
        if not SENSIBLE & set(words):
            counted.append(1)
            refused(folder, *words)

    check()
    assert len(counted) > 700
