"""Claims about how a diagnosis is shown."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from lbadvisor.cli.display.diagnosis_display import print_diagnosis, show_diagnosis
from lbadvisor.cli.display.terminal_graph import draw_graph
from lbadvisor.cli.options.words import Shown
from lbadvisor.records.diagnosis import Diagnosis, Graph, Series


def printed(diagnosis: Diagnosis, *, chart: bool = True, width: int = 100, colour: bool = False) -> str:
    console = Console(width=width, color_system="256" if colour else None, force_terminal=colour, highlight=False)
    with console.capture() as capture:
        print_diagnosis(console, diagnosis, chart=chart)
    return capture.get()


def test_the_console_shows_title_graphs_tables_caveats_and_last_the_conclusion(made_up_diagnosis: Diagnosis):
    text = printed(made_up_diagnosis)
    lines = text.splitlines()
    assert lines[0] == "Diffusion of small-32-s0"
    assert "Weight distance: ||w_t - w_0||    1 batch 32  2 1 + 2 ln t  3 0.5 t^0.5  4 batch 512" in text
    assert "square root  -  0.5      12.0" in text
    assert lines[-1] == made_up_diagnosis.conclusion
    assert "┤" not in printed(made_up_diagnosis, chart=False)
    assert max(map(len, lines)) <= 100


def test_in_colour_laws_fitted_to_the_same_points_differ_by_their_sign(made_up_diagnosis: Diagnosis):
    text = printed(made_up_diagnosis, colour=True)
    for entry in ("[94m  • batch 32", "[94m  ╌ 1 + 2 ln t", "[94m  · 0.5 t^0.5", "[91m  • batch 512", "[91m  ╌ 0.4"):
        assert entry in text


def test_a_logarithmic_axis_has_the_graphs_own_numbers_and_leaves_out_what_has_no_logarithm():
    console = Console(width=80, color_system=None)
    graph = Graph("", "update", "loss", (Series("a", (0.0, 1.0, 100.0), (5.0, 0.01, 100.0)),), True, True)
    with console.capture() as capture:
        draw_graph(console, graph)
    drawn = capture.get()
    for tick in ("0.01┤", "100┤", "update (logarithmic)"):
        assert tick in drawn
    # From the lower left to the upper right: a power law is straight, and every row has some of it.
    rows = [
        line[line.index(edge) + 1 :].strip(" │") for line in drawn.splitlines() for edge in "│┤" if edge in line[:6]
    ]
    assert len(rows) == 12
    assert all(set(row) == {"1"} for row in rows)


def test_a_graph_of_one_value_and_one_without_any_are_drawn_too():
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        draw_graph(console, Graph("", "x", "y", (Series("flat", (0.0, 0.0), (2.0, 2.0)),)))
        draw_graph(console, Graph("", "x", "y", (Series("none", (), ()), Series("nan", (1.0,), (float("nan"),)))))
    assert capture.get().count("┌") == 1


def test_json_is_the_value_with_its_schema_and_the_sentences_on_it(
    made_up_diagnosis: Diagnosis, capsys: pytest.CaptureFixture[str]
):
    value = made_up_diagnosis.graphs[0].series[0]
    show_diagnosis(value, made_up_diagnosis, Shown(as_json=True))
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == 1
    assert body["x"] == [1.0, 10.0, 100.0, 1000.0]
    assert body["conclusion"] == made_up_diagnosis.conclusion
    assert body["caveats"] == list(made_up_diagnosis.caveats)
    assert set(body) - {"conclusion", "caveats"} == {"schema", "label", "x", "y", "low", "high", "style", "like"}


def test_page_and_picture_are_written_and_told_unless_quiet(
    made_up_diagnosis: Diagnosis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    html, png = tmp_path / "page.html", tmp_path / "chart.png"
    show_diagnosis(made_up_diagnosis, made_up_diagnosis, Shown(html=html, png=png, chart=False))
    told = capsys.readouterr()
    assert "page.html: 4.8 MB written" in told.err
    assert "chart.png: " in told.err
    assert told.out.splitlines()[-1] == made_up_diagnosis.conclusion
    assert made_up_diagnosis.conclusion in html.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    show_diagnosis(made_up_diagnosis, made_up_diagnosis, Shown(html=html, png=png, quiet=True))
    assert capsys.readouterr().err == ""
