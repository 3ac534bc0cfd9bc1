"""Claims about diagnoses as a page and as a picture."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread

from lbadvisor.records.diagnosis import Diagnosis, Graph, Series
from lbadvisor.report.appearance import DASHES
from lbadvisor.report.charts import chart_data, diagnosis_charts
from lbadvisor.report.diagnosis_page import diagnoses_page
from lbadvisor.report.panels import figure_of_panels, write_panels
from lbadvisor.report.picture import panels_of
from lbadvisor.report.rendering import numbered

INFINITE, NOT_A_NUMBER = float("inf"), float("nan")
HOSTILE = "</script><img src=x onerror=alert(1)> $x_1$ {{ 7*7 }}"


def test_a_page_says_conclusion_tables_caveats_and_the_command(made_up_diagnosis: Diagnosis):
    page = diagnoses_page("Diffusion", [made_up_diagnosis], ["lbadvisor probe diffusion 1 --html page.html"])
    places = [
        page.index(text)
        for text in (
            made_up_diagnosis.conclusion,
            "square root</th>",
            made_up_diagnosis.caveats[0].split(" (")[0],
            "<pre>lbadvisor probe diffusion 1 --html page.html</pre>",
        )
    ]
    assert places == sorted(places)
    assert "-1,234.5</td>" in page
    assert "<nav" not in page


def test_several_diagnoses_have_contents_that_lead_to_each(made_up_diagnosis: Diagnosis):
    other = replace(made_up_diagnosis, title="Noise of small-32-s0")
    page = diagnoses_page("small", [made_up_diagnosis, other], ["lbadvisor"])
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#(part-\d)">([^<]*)<', contents) == [
        ("part-1", "Diffusion of small-32-s0"),
        ("part-2", "Noise of small-32-s0"),
    ]
    assert page.count('<h2 id="part-') == 2
    keys = re.findall(r'id="(chart-\d-\d)"', page)
    assert keys == ["chart-1-1", "chart-1-2", "chart-2-1", "chart-2-2"]


def test_what_could_not_be_measured_is_a_page_without_charts():
    page = diagnoses_page("small", [Diagnosis("Sharpness", "Not measured: the run has no checkpoint.")], ["lbadvisor"])
    assert "Not measured: the run has no checkpoint." in page
    assert "<script" not in page


def test_the_numbers_of_a_chart_leave_out_ends_that_are_not_known():
    lines = Series("noise", (1, 2), (3.0, 4.0), (NOT_A_NUMBER, 2.5), (NOT_A_NUMBER, 5.5))
    diagnosis = Diagnosis("Noise", "It grows.", (Graph("Noise", "update", "examples", (lines,)),))
    (row,) = numbered(diagnosis_charts(diagnosis))[0].rows
    assert (row.lowest, row.highest) == ("2.5", "5.5")


def test_a_fitted_line_has_its_points_colour_and_dashes_of_its_own(made_up_diagnosis: Diagnosis):
    small, log, root, large, large_log = diagnosis_charts(made_up_diagnosis)[0].looks
    assert small.light == log.light == root.light != large.light == large_log.light
    assert (log.dashes, root.dashes, large_log.dashes) == (DASHES[1], DASHES[2], DASHES[1])
    assert log.marker is None
    assert small.marker != large.marker


def test_a_line_that_belongs_to_a_dashed_one_has_other_dashes():
    solid, dashed = Series("ghosts", (1.0,), (2.0,)), Series("plain", (1.0,), (2.0,))
    belongs = Series("drift", (1.0,), (2.0,), style="dashed", like=1)
    (chart,) = diagnosis_charts(Diagnosis("", "", (Graph("", "x", "y", (solid, dashed, belongs)),)))
    assert [look.dashes for look in chart.looks] == ["none", DASHES[1], DASHES[2]]


def test_series_of_one_label_look_alike_in_all_graphs():
    one, other = (Series(label, (1.0,), (2.0,), style="points") for label in ("SB", "LB"))
    last = Series("+RA", (1.0,), (2.0,), style="points")
    graphs = (Graph("before", "x", "y", (one, other)), Graph("after", "x", "y", (last, one)))
    before, after = (chart.looks for chart in diagnosis_charts(Diagnosis("", "", graphs)))
    assert before[0] == after[1]
    assert len({look.light for look in (*before, *after)}) == 3


def test_the_pages_data_hold_every_number_and_no_infinity(made_up_diagnosis: Diagnosis):
    graph = Graph("g", "x", "y", (Series("s", (1.0, 2.0), (INFINITE, 1 / 3), (0.0, 0.25), (NOT_A_NUMBER, 0.5)),))
    (line,) = chart_data(diagnosis_charts(Diagnosis("", "", (graph,))))["charts"][0]["lines"]
    assert (line["x"], line["y"]) == ([1.0, 2.0], [None, 0.33333])
    assert (line["low"], line["high"]) == ([0.0, 0.25], [None, 0.5])
    lines = chart_data(diagnosis_charts(made_up_diagnosis))["charts"][0]["lines"]
    assert [line["label"] for line in lines] == [series.label for series in made_up_diagnosis.graphs[0].series]


def test_a_band_that_leaves_its_axis_ends_there():
    """From 10 to 100: half of that and twice on a logarithmic axis, a quarter of the span on a linear one."""
    series = Series("s", (1.0, 2.0), (10.0, 100.0), (-3.0, 0.0), (INFINITE, INFINITE))
    for logarithmic, y, ends in ((True, (10.0, 100.0), (5.0, 200.0)), (False, (0.0, 100.0), (-3.0, 125.75))):
        graph = Graph("g", "x", "y", (replace(series, y=y),), logarithmic_y=logarithmic)
        (line,) = chart_data(diagnosis_charts(Diagnosis("", "", (graph,))))["charts"][0]["lines"]
        assert (line["low"][0], line["high"][0]) == ends


def test_the_picture_draws_every_series_of_every_graph_on_its_axes(made_up_diagnosis: Diagnosis):
    figure = figure_of_panels(panels_of([made_up_diagnosis, made_up_diagnosis]))
    assert [(axes.get_xscale(), axes.get_yscale()) for axes in figure.axes] == [
        ("log", "linear"),
        ("linear", "log"),
    ] * 2
    first, second, *_ = figure.axes
    assert [list(line.get_ydata()) for line in first.lines] == [list(s.y) for s in made_up_diagnosis.graphs[0].series]
    # Points have bars for their band, a line an area.
    assert [len(axes.collections) for axes in (first, second)] == [1, 1]
    assert first.get_ylabel() == "||w_t - w_0||"


@pytest.mark.parametrize(
    ("last", "ticks"), [(2.4, ["1.2", "1.5", "1.8"]), (40.0, ["1", "2", "5"]), (5000.0, ["1", "10", "100", "1,000"])]
)
def test_a_logarithmic_axis_has_numbers_that_suit_its_span(last: float, ticks: list[str]):
    graph = Graph("g", "x", "y", (Series("s", (1.0, last), (1.0, 2.0)),), logarithmic_x=True)
    figure = figure_of_panels(panels_of([Diagnosis("", "", (graph,))]))
    figure.canvas.draw()
    (axes,) = figure.axes
    shown = [label.get_text() for label in axes.get_xticklabels() if label.get_position()[0] >= 0.99]
    assert shown[: len(ticks)] == ticks


@pytest.mark.parametrize("words", ["plain", HOSTILE, "a" * 200])
def test_any_words_are_drawn_as_they_are(made_up_diagnosis: Diagnosis, tmp_path: Path, words: str):
    graph = made_up_diagnosis.graphs[0]
    series = tuple(replace(one, label=words) for one in graph.series)
    graph = replace(graph, title=words, x_title=words, y_title=words, note=words, series=series)
    said = replace(made_up_diagnosis, title=words, conclusion=words, graphs=(graph,))
    assert write_panels(tmp_path / "chart.png", panels_of([said])) > 10_000
    assert imread(tmp_path / "chart.png").shape[0] > 500
    assert "<img" not in diagnoses_page(words, [said], [words])


def test_each_paragraph_of_a_conclusion_begins_a_line(made_up_diagnosis):
    told = replace(made_up_diagnosis, conclusion="Yes.\nIt cost " + "much " * 100 + "\nNo more.")
    figure = figure_of_panels(panels_of([told]))
    texts = [text.get_text() for part in figure.subfigs for text in part.texts]
    lines = next(text for text in texts if text.startswith("Yes.")).split("\n")
    assert (lines[0], lines[-1]) == ("Yes.", "No more.")
    assert len(lines) > 4
