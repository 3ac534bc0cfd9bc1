"""Claims about the page as text: it says the answer, and holds all that it shows and nobody else's markup."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from lbadvisor.comparison.comparison import Open
from lbadvisor.errors import UsageError
from lbadvisor.report.page import page_of, write_page

HOSTILE = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\"'&{{ 7*7 }}<!--")


class Tags(HTMLParser):
    """The tags of a page with their attributes, its visible text, and what its scripts hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        inside = self.tags[-1][0] if self.tags else ""
        (self.scripts if inside == "script" and self.cdata_elem else self.text).append(data)


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page.replace(get_plotlyjs(), ""))
    return tags


def words(page: str) -> str:
    """The visible text, its blanks and dashes as a keyboard has them."""
    text = (
        " ".join(parsed(page.replace("<wbr>", "")).text)
        .replace("\N{NARROW NO-BREAK SPACE}", " ")
        .replace("\N{EN DASH}", "-")
    )
    return " ".join(text.split())


def test_the_answer_comes_first_as_a_number_and_a_sentence(report_of):
    text = words(page_of(report_of()))
    number = text.index("75%")
    caption = text.index("of the generalization gap is closed by +RA; 95% interval 50 to 100%, 2 seeds")
    sentence = text.index("LB is 4.00 points worse than SB.")
    assert number < caption < sentence < text.index("Arms")


def with_groups(report, **changes):
    """The report with other numbers for its third group."""
    gap = report.comparison.gap
    groups = (*gap.groups[:2], replace(gap.groups[2], **changes))
    return replace(report, comparison=replace(report.comparison, gap=replace(gap, groups=groups)))


def test_without_a_share_the_answer_is_the_gap_and_without_a_gap_it_says_so(report_of):
    report = with_groups(report_of(), closed_percent=None, closed_interval=None)
    assert "+4.00 points: the generalization gap of LB to SB; 95% interval 3.00 to 5.00, 2 seeds" in words(
        page_of(report)
    )
    gap = report.comparison.gap
    unknown = tuple(replace(group, points=None, points_interval=None) for group in gap.groups)
    gap = replace(gap, points=None, points_interval=None, groups=unknown, conclusion="Nothing is known.")
    page = page_of(replace(report, comparison=replace(report.comparison, gap=gap)))
    assert "no generalization gap is known Nothing is known." in words(page)


@pytest.mark.parametrize(
    "changes",
    [
        {"closed_interval": (-134.0, 104.0)},
        {"closed_interval": None, "closed_open": Open.NOT_BOUNDED},
        {"closed_interval": None, "closed_open": Open.NO_GAP_SHOWN},
    ],
)
def test_a_share_that_is_not_shown_is_not_the_answer(report_of, changes):
    text = words(page_of(with_groups(report_of(), **changes)))
    assert "+4.00 points: the generalization gap of LB to SB; 95% interval 3.00 to 5.00, 2 seeds" in text
    assert "gap is closed by" not in text


def test_a_share_below_0_is_added_to_the_gap(report_of):
    text = words(page_of(with_groups(report_of(), closed_percent=-20.0, closed_interval=(-30.0, -10.0))))
    assert "20% of the generalization gap is added by +RA; 95% interval" in text


def test_a_gap_that_is_not_shown_is_said_to_be_so(report_of):
    report = with_groups(report_of(), closed_percent=None, closed_interval=None)
    gap = report.comparison.gap
    groups = (gap.groups[0], replace(gap.groups[1], points_interval=(-1.0, 9.0)), gap.groups[2])
    report = replace(report, comparison=replace(report.comparison, gap=replace(gap, groups=groups)))
    assert "gap of LB to SB, not told from 0; 95% interval" in words(page_of(report))


def test_tables_say_each_arm_its_spread_and_why_there_is_no_interval(report_of):
    """An asterisk stands behind an interval whose evidence is left after the correction."""
    text = words(page_of(report_of()))
    assert "an asterisk marks evidence that survives Holm's correction for these 2 comparisons" in text
    assert "SB 98.00 ± 0.50 - - - 2 32" in text
    assert "LB 94.00 ± 1.25 +4.00 (3.00 to 5.00)* - - 2 512" in text
    assert "+RA 97.00 ± 0.25 +1.00 (one seed) 75% (50 to 100) +3.00 (\N{MINUS SIGN}0.50 to 6.50) 2 512" in text


def test_the_plan_shows_what_moves_with_its_reasons_and_what_is_kept(report_of):
    text = words(page_of(report_of()))
    assert "+RA: 2 of 3 numbers change" in text
    assert "optimizer.lr 0.05 → 0.2 sqrt lr * sqrt(r) Hoffer noise" in text
    assert "Kept: schedule.milestones 5, 7 updates (regime)." in text
    assert "regime-price : 16 times as many examples" in text


def test_fields_notes_commands_and_versions_are_there(report_of):
    text = words(page_of(report_of()))
    for part in (
        "batch.size 32 512 512",
        "seed 1, 2 1, 2 1, 2",
        "+RA says so",
        "lbadvisor compare 1 2 3 4 5 6 --html report.html",
        "lbadvisor train 0.toml --seed 1",
        'name = "SB"',
        "lbadvisor 0.1.0, torch 2.15.0, Python 3.11.0 on a processor (cpu), commit 0123456789ab with changes",
    ):
        assert part in text


def test_the_charts_have_their_numbers_in_tables(report_of):
    """SB's loss goes from 2/1 to 2/20; its accuracy ends at 98 - 10/20, between 97 and 98."""
    text = words(page_of(report_of()))
    assert "Numbers arm first lowest highest last at update" in text
    assert "SB 2 0.1 2 0.1 20" in text
    assert "SB 93 92.5 98 97.5 20" in text


def test_nothing_is_fetched_and_only_the_pages_own_scripts_may_run(report_of):
    tags = parsed(page_of(report_of())).tags
    assert not [tag for tag, _ in tags if tag in ("link", "img", "iframe", "object", "embed", "audio", "video")]
    assert not [attrs for _, attrs in tags if "src" in attrs or "href" in attrs]
    policy = next(a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    script_rule = re.search(r"script-src ([^;]*)", policy)
    assert script_rule is not None
    assert "unsafe" not in script_rule[1]
    assert "http" not in policy
    assert "url(" not in page_of(report_of()).split("</style>")[0]


def test_a_users_words_are_text_and_never_markup(report_of):
    """Names that close a script, open one, or look like the template's own language."""
    plain, hostile = parsed(page_of(report_of())), parsed(page_of(report_of(HOSTILE)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    for label in HOSTILE:
        assert label in "".join(hostile.text)
    data = json.loads(next(script for script in hostile.scripts if script.lstrip().startswith("{")))
    assert [line["label"] for line in data["charts"][0]["lines"]] == list(HOSTILE)


def test_a_page_is_the_charts_script_and_little_more(report_of):
    """Plotly's script is 4.8 MB; the rest of a small report is below 100 kB."""
    assert len(page_of(report_of())) - len(get_plotlyjs()) < 100_000


def test_many_groups_have_a_row_each_in_what_differs(many_groups_report):
    text = words(page_of(many_groups_report))
    assert "What differs arm optimizer.lr arm 0 0 arm 1 0.001" in text


def test_a_report_without_any_measurement_has_no_charts(report_of):
    report = report_of()
    nothing = tuple(
        replace(group, curves=tuple(replace(c, update=(), measured=0) for c in group.curves)) for group in report.curves
    )
    page = page_of(replace(report, curves=nothing))
    assert len(page) < 100_000
    assert "Curves" not in words(page)


def test_a_page_is_written_over_an_older_one_and_over_nothing_else(report_of, tmp_path: Path):
    """A report is derived from stored runs; any other file is somebody's."""
    path = tmp_path / "report.html"
    size = write_page(path, report_of())
    assert path.stat().st_size == size
    assert write_page(path, report_of(("A", "B", "C"))) > 0
    assert list(tmp_path.iterdir()) == [path]
    path.write_text("my own notes")
    with pytest.raises(UsageError, match="is not a report of lbadvisor"):
        write_page(path, report_of())
    assert path.read_text() == "my own notes"


def test_a_path_that_cannot_be_written_is_an_error_that_names_it(report_of, tmp_path: Path):
    with pytest.raises(UsageError, match="is a folder"):
        write_page(tmp_path, report_of())
    missing = tmp_path / "none" / "report.html"
    with pytest.raises(UsageError, match=re.escape(f"{missing} cannot be written: the folder")):
        write_page(missing, report_of())
    blocked = tmp_path / "file" / "report.html"
    blocked.parent.write_text("")
    with pytest.raises(UsageError, match="does not exist"):
        write_page(blocked, report_of())
