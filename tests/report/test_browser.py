"""Claims about the page in a real browser: Chromium, headless, as Debian packages it."""

import math
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lbadvisor.records.diagnosis import Diagnosis, Graph, Series
from lbadvisor.records.quantities import WEIGHT_DISTANCE
from lbadvisor.report.curves import Curve
from lbadvisor.report.diagnosis_page import diagnoses_page
from lbadvisor.report.page import write_page
from lbadvisor.report.rendering import write_text

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt install chromium")

HOSTILE = ("</script><img src=x onerror=alert(1)>", "<b>bold</b> %{y}", "\"'&lt; $x$")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright_api.Browser]:
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Watched:
    """An open page, with all that it asked for and complained of."""

    def __init__(self, browser: playwright_api.Browser, path: Path, **context: object) -> None:
        self.page = browser.new_page(**context)
        self.url = path.as_uri()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.goto(self.url)
        for chart in self.page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            chart.locator(".scatterlayer .trace").first.wait_for(state="attached")

    def traces(self) -> dict[str, list[str]]:
        """The names of the lines that each chart has drawn, by the chart's id."""
        return self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".chart")].map((chart) =>
                 [chart.id, chart.data.filter((trace) => trace.hovertemplate).map((trace) => trace.name)]))"""
        )

    def drawn(self) -> dict[str, int]:
        """How many traces, bands included, stand in each chart's drawing."""
        return self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".chart")].map((chart) =>
                 [chart.id, chart.querySelectorAll(".scatterlayer .trace").length]))"""
        )

    def settle(self) -> None:
        """Let every chart that is out of date be drawn."""
        for chart in self.page.locator(".chart").all():
            chart.scroll_into_view_if_needed()
            self.page.wait_for_timeout(80)

    def close(self) -> None:
        """Close the page, which must have asked for nothing and complained of nothing."""
        self.page.close()
        assert self.complaints == []
        assert [url for url in self.requests if url != self.url] == []


@pytest.fixture
def opened(browser: playwright_api.Browser, tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """A function that writes a report and opens it."""
    pages: list[Watched] = []

    def open_page(report, **context: object) -> Watched:
        path = tmp_path / "report.html"
        write_page(path, report)
        pages.append(Watched(browser, path, **context))
        return pages[-1]

    yield open_page
    for watched in pages:
        watched.close()


@pytest.fixture(scope="module")
def plain(browser: playwright_api.Browser, report_of, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The plain report, open for several claims; each leaves it as it was."""
    path = tmp_path_factory.mktemp("plain") / "report.html"
    write_page(path, report_of())
    watched = Watched(browser, path)
    yield watched
    watched.close()


CHARTS = (
    "chart-evaluation_accuracy_percent",
    "chart-loss",
    "chart-gradient_norm",
    "chart-clipped_share",
    "chart-lr",
    "chart-weight_distance",
)


def hovered(watched: Watched) -> str:
    """What the loss chart says when the pointer is near its third update."""
    chart = watched.page.locator("#chart-loss")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".nsewdrag").bounding_box()
    assert box is not None
    watched.page.mouse.move(box["x"] + box["width"] * 0.15, box["y"] + box["height"] / 2)
    hover = chart.locator(".hoverlayer .legend")
    hover.wait_for()
    return hover.text_content() or ""


def test_every_chart_is_drawn_with_a_line_and_a_band_for_each_arm(plain):
    assert plain.traces() == {chart: ["SB", "LB", "+RA"] for chart in CHARTS}
    assert plain.drawn() == dict.fromkeys(CHARTS, 6)
    assert not plain.page.locator("#without-script").count()


def test_an_arm_switched_off_is_gone_from_every_chart_and_comes_back(plain):
    plain.page.get_by_role("checkbox", name="LB").uncheck()
    plain.settle()
    assert plain.traces() == {chart: ["SB", "+RA"] for chart in CHARTS}
    assert plain.drawn() == dict.fromkeys(CHARTS, 4)
    plain.page.get_by_role("checkbox", name="LB").check()
    plain.settle()
    assert plain.drawn() == dict.fromkeys(CHARTS, 6)


def test_the_axis_is_that_which_is_chosen(plain):
    """20 updates of 32 of 1024 examples, each of half a second."""
    ends = """() => [...document.querySelectorAll(".chart")].map((chart) =>
                [chart.data.find((trace) => trace.name === "SB" && trace.hovertemplate).x.at(-1),
                 chart.layout.xaxis.type])"""
    for axis, last in (("epoch", 20 / 32), ("example", 640), ("second", 10), ("update", 20)):
        plain.page.locator("#axis").select_option(axis)
        plain.settle()
        # The weight distance is over a logarithm on any axis.
        assert plain.page.evaluate(ends) == [[last, "linear"]] * 5 + [[last, "log"]]
    plain.page.get_by_role("checkbox", name="logarithmic").check()
    plain.settle()
    assert plain.page.evaluate(ends) == [[20, "log"]] * 6
    plain.page.get_by_role("checkbox", name="logarithmic").uncheck()
    plain.settle()


def test_an_arm_that_tells_no_epochs_and_no_seconds_has_no_place_over_them(opened, report_of):
    report = report_of()
    curves = tuple(replace(one, seconds=(math.inf,) * len(one.seconds)) for one in report.curves[0].curves)
    untimed = replace(report.curves[0], epochs_per_update=math.nan, curves=curves)
    watched = opened(replace(report, curves=(untimed, *report.curves[1:])))
    placed = """() => document.querySelector("#chart-loss").data
                  .filter((trace) => trace.name === "SB" && trace.hovertemplate)
                  .flatMap((trace) => trace.x).filter((x) => x !== null).length"""
    for axis, points in (("epoch", 0), ("second", 0), ("example", 20)):
        watched.page.locator("#axis").select_option(axis)
        watched.settle()
        assert watched.page.evaluate(placed) == points


def test_hovering_says_the_numbers_of_every_arm(plain):
    text = hovered(plain)
    for label in ("SB", "LB", "+RA"):
        assert label in text
    # The loss of update u is 2/u in every run.
    assert "0.6667  (0.6667 to 0.6667)" in text


def test_hostile_names_are_shown_as_they_are_and_run_nothing(opened, report_of):
    watched = opened(report_of(HOSTILE))
    assert watched.page.locator("#arms label span").all_text_contents() == list(HOSTILE)
    assert watched.page.locator("img").count() == 0
    text = hovered(watched)
    # A long name is cut, and is text all the same.
    assert "</script><img src=x" in text
    assert "<b>bold</b> %{y}" in text
    assert "\"'&lt; $x$" in text


def test_the_page_follows_dark_and_light(opened, report_of):
    watched = opened(report_of(), color_scheme="dark")
    colours = """() => [getComputedStyle(document.body).backgroundColor,
                        document.getElementById("chart-loss").data.at(-1).line.color]"""
    assert watched.page.evaluate(colours) == ["rgb(20, 23, 28)", "#62AEFF"]
    watched.page.emulate_media(color_scheme="light")
    watched.settle()
    assert watched.page.evaluate(colours) == ["rgb(255, 255, 255)", "#0F6CBF"]


def test_nothing_is_wider_than_a_phone(opened, report_of):
    watched = opened(report_of(), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for width in (390, 320, 768):
        watched.page.set_viewport_size({"width": width, "height": 844})
        watched.settle()
        assert watched.page.evaluate("document.documentElement.scrollWidth") == width
        for chart in watched.page.locator(".chart").all():
            box = chart.locator(".main-svg").first.bounding_box()
            assert box is not None
            assert box["width"] <= width


def test_no_table_is_scrolled_sideways(opened, report_of):
    """Not on a phone, nor on a tablet, nor between two layouts, with numbers and words as wide as they come."""
    report = report_of()
    wide = (-112.36, 132.97)
    groups = tuple(replace(group, points=-22.67, points_interval=wide) for group in report.comparison.gap.groups)
    comparison = replace(report.comparison, gap=replace(report.comparison.gap, groups=groups))
    watched = opened(replace(report, comparison=comparison), viewport={"width": 1300, "height": 1024})
    for width in (320, 390, 480, 481, 641, 715, 768, 960, 961, 1024, 1101, 1300):
        watched.page.set_viewport_size({"width": width, "height": 1024})
        over = watched.page.evaluate(
            "() => [...document.querySelectorAll('main table')].map((e) => e.scrollWidth - e.parentElement.clientWidth)"
        )
        assert max(over) <= 0, width


def test_recipes_share_sheets_of_paper(opened, report_of, tmp_path: Path):
    """Three recipes of 50 lines, as long as those of the project: with curves, plan and all, three sheets."""
    report = report_of()
    toml = "".join(f"field_{place} = {place}\n" for place in range(50))
    recipes = tuple(replace(recipe, toml=toml) for recipe in report.recipes)
    watched = opened(replace(report, recipes=recipes))
    for paper in ("A4", "Letter"):
        watched.page.pdf(path=tmp_path / "printed.pdf", format=paper)
        sheets = re.findall(rb"/Type\s*/Page\b", (tmp_path / "printed.pdf").read_bytes())
        assert len(sheets) == 3


def test_a_weight_distance_that_grows_as_log_t_is_straight(opened, report_of):
    """From 0.1 to 30, a factor at which any other quantity has a logarithmic axis."""
    report = report_of()
    law = tuple(
        replace(group, curves=tuple(map(as_log_t, group.curves)) if group.label == "SB" else group.curves)
        for group in report.curves
    )
    watched = opened(replace(report, curves=law))
    axes = watched.page.evaluate(
        """() => { const layout = document.getElementById("chart-weight_distance").layout;
                   return [layout.xaxis.type, layout.yaxis.type]; }"""
    )
    assert axes == ["log", "linear"]


def as_log_t(curve: Curve) -> Curve:
    values = tuple(0.1 + 10 * math.log(update) for update in curve.update)
    return replace(curve, mean=values, low=values, high=values) if curve.quantity is WEIGHT_DISTANCE else curve


def test_printing_opens_every_section_and_draws_on_white(opened, report_of, tmp_path: Path):
    """The sections close again behind the print."""
    watched = opened(report_of(), color_scheme="dark")
    closed = watched.page.locator("details:not([open])").count()
    assert closed > 0
    watched.page.evaluate(
        """() => window.addEventListener("beforeprint", () => {
             const chart = document.getElementById("chart-loss");
             window.seen = [document.querySelectorAll("details:not([open])").length,
                            chart.data.at(-1).line.color, chart.layout.width];
           })"""
    )
    watched.page.pdf(path=tmp_path / "printed.pdf", format="A4")
    assert watched.page.evaluate("window.seen") == [0, "#0F6CBF", 330]
    assert watched.page.locator("details:not([open])").count() == closed


def test_without_scripts_the_page_says_so_and_has_the_numbers(browser, report_of, tmp_path: Path):
    write_page(tmp_path / "report.html", report_of())
    page = browser.new_page(java_script_enabled=False)
    page.goto((tmp_path / "report.html").as_uri())
    page.get_by_text("which does not run here").wait_for()
    page.locator("summary", has_text="Numbers").first.click()
    assert page.get_by_text("97.5", exact=True).first.is_visible()
    page.close()


def test_many_arms_are_found_by_name_and_switched_together(opened, many_groups_report):
    """Forty arms share a trace for each of six colours."""
    watched = opened(many_groups_report)
    points = """() => document.getElementById("chart-loss").data.flatMap((trace) => trace.customdata)
                  .filter((point) => point !== null).map((point) => point[0])"""
    assert len(watched.traces()["chart-loss"]) == 6
    assert set(watched.page.evaluate(points)) == {f"arm {place}" for place in range(40)}
    watched.page.get_by_label("find an arm").fill("arm 3")
    watched.page.get_by_role("button", name="none").click()
    watched.settle()
    left = {f"arm {place}" for place in range(40)} - {"arm 3", *(f"arm {place}" for place in range(30, 40))}
    assert set(watched.page.evaluate(points)) == left


def test_a_diagnosis_draws_points_laws_and_bands_on_its_own_axes(browser, made_up_diagnosis, tmp_path: Path):
    write_text(tmp_path / "page.html", diagnoses_page("Diffusion", [made_up_diagnosis] * 2, ["lbadvisor"]))
    watched = Watched(browser, tmp_path / "page.html", viewport={"width": 390, "height": 844})
    laws = ["batch 32", "1 + 2 ln t", "0.5 t^0.5", "batch 512", "0.4 + 1.5 ln t"]
    assert watched.traces()["chart-2-1"] == laws
    assert watched.drawn() == {"chart-1-1": 5, "chart-1-2": 2, "chart-2-1": 5, "chart-2-2": 2}
    modes, bars, axes = watched.page.evaluate(
        """() => { const {data, layout} = document.getElementById("chart-1-1");
                   return [data.map((trace) => trace.mode), data[0].error_y.array,
                           [layout.xaxis.type, layout.yaxis.type, layout.yaxis.title.text]]; }"""
    )
    assert modes == ["markers", "lines", "lines", "markers", "lines"]
    assert bars == pytest.approx([0.5] * 4, abs=1e-3)
    assert axes == ["log", "linear", "||w_t - w_0||"]
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
    assert not watched.page.locator("#without-script").count()
    watched.close()


def test_a_band_has_a_gap_where_it_is_not_known(browser, tmp_path: Path):
    """Known at 1, 2, 4 and 5, not at 3: two areas, each forth over its upper ends and back over its lower ones."""
    x = (1.0, 2.0, 3.0, 4.0, 5.0)
    low, high = (0.0, 0.0, math.nan, 0.0, 0.0), (2.0, 2.0, 2.0, 2.0, 2.0)
    graph = Graph("Noise", "epoch", "examples", (Series("noise", x, (1.0,) * 5, low, high),))
    write_text(tmp_path / "page.html", diagnoses_page("Noise", [Diagnosis("Noise", "So.", (graph,))], ["lbadvisor"]))
    watched = Watched(browser, tmp_path / "page.html")
    area = watched.page.evaluate(
        "() => { const {x, y} = document.getElementById('chart-1-1').data[0]; return [x, y]; }"
    )
    assert area == [[1, 2, 2, 1, None, 4, 5, 5, 4], [2, 2, 0, 0, None, 2, 2, 0, 0]]
    watched.close()
