"""The search for the smallest stretch in words, as a table and as a graph of the gap against the stretch."""

from collections.abc import Iterator

from lbadvisor.comparison.comparison import Estimate
from lbadvisor.comparison.stretch_search import Ending, Verdict
from lbadvisor.diagnostics.stretch.stretch_answer import PredictedStretch, StretchAnswer, StretchRow
from lbadvisor.planning.noise_scale import noise_scale_text
from lbadvisor.planning.noisy_quadratic import stretch_caveats
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series
from lbadvisor.records.numerals import duration_text, listed


def diagnosis_of(answer: StretchAnswer) -> Diagnosis:
    """The answer as every surface shows it; the conclusion's first sentence says what to do."""
    of = answer.of
    return Diagnosis(
        title=f"The smallest stretch of {of.baseline}, batch {of.batch_size:,} -> {of.target_batch_size:,}",
        conclusion="\n".join(filter(None, map(" ".join, (_answer(answer), _time(answer), _prediction(answer))))),
        graphs=(_graph(answer),) if any(row.gap.interval for row in answer.rows) else (),
        grids=(_grid(answer),),
        caveats=tuple(_caveats(answer)),
    )


def _answer(answer: StretchAnswer) -> Iterator[str]:
    of, naive, found, last = answer.of, answer.naive, answer.found, answer.rows[-1]
    gap = _told(naive, ".2f", " points")
    match answer.ending:
        case Ending.BASELINE_DIVERGED:
            yield "The baseline itself diverged, so there is nothing to compare with."
        case Ending.NAIVE_DIVERGED:
            yield "The naive large batch diverged, so its gap has no size, and no share of it can be closed."
        case Ending.NO_GAP if naive.sign < 0:
            yield f"There is no gap to close: the naive large batch is better than the baseline, with one of {gap}."
        case Ending.NO_GAP if naive.sign > 0:
            yield f"There is no gap to close: that of the naive large batch is within the margin, {gap}."
        case Ending.NO_GAP:
            yield f"No gap is shown, so there is nothing to close: that of the naive large batch is {gap}."
        case Ending.NONE_CLOSES:
            yield (
                f"No stretch is shown to close the gap of {gap}. The full regime, {of.batch_ratio:.4g} times the "
                f"baseline's epochs, {'diverged' if last.verdict is Verdict.DIVERGED else f'closes {_closed(last)}'}."
            )
    if found is not None:
        longer = f"{found.stretch:.4g} times longer" if found.stretch > 1 else "no longer"
        saved = answer.saved_seconds or 0.0
        saving = f"save {duration_text(saved)} a run against the full regime" if saved > 0 else "save nothing"
        yield (
            f"Train {longer} ({found.stretch:.4g} of {of.batch_ratio:.4g}), {saving}; the gap of {naive.value:.2f} "
            f"points closes by {_closed(found)}."
        )
        if found.gap.sign > 0:
            yield f"Still, {_told(found.gap, '.2f', ' points')} remain."
    undecided = [f"{row.stretch:.4g}" for row in answer.below if row.verdict is Verdict.UNDECIDED]
    if undecided:
        seeds = answer.question.most_seeds
        yield (
            f"With {seeds} seeds {'a stretch of' if len(undecided) == 1 else 'stretches of'} {listed(undecided)} "
            f"{'is' if len(undecided) == 1 else 'are'} undecided: more may decide (--seeds)."
        )
    for row in answer.rows[len(answer.below) :]:
        if row.verdict.is_failure:
            yield f"Yet a stretch of {row.stretch:.4g} {row.verdict}: longer is not always better here."


def _closed(row: StretchRow) -> str:
    return _told(row.closed, "z.0f", "%")


def _told(estimate: Estimate, form: str, unit: str) -> str:
    if estimate.value is None:
        return "an unknown part"
    between = f"no interval: {estimate.open}" if estimate.interval is None else f"95% {_ends(estimate, form)}"
    return f"{estimate.value:{form}}{unit} ({between}, {estimate.seeds} seeds)"


def _ends(estimate: Estimate, form: str) -> str | None:
    return None if estimate.interval is None else " to ".join(f"{end:{form}}" for end in estimate.interval)


def _time(answer: StretchAnswer) -> Iterator[str]:
    full, start = answer.full_seconds, answer.baseline_seconds
    own = None if answer.found is None else answer.found.cost.mean_seconds
    if own is not None and full is not None and start is not None:
        how = "measured" if answer.full_is_measured else "computed from the shorter ones"
        yield f"A run takes {duration_text(own)}, one of the full regime {duration_text(full)} ({how})."
        than = (
            f"saves {1 - own / start:.0%} of that" if own < start else f"saves nothing, at {own / start:.1f} times that"
        )
        yield f"The baseline takes {duration_text(start)}: on this machine the larger batch {than}."


def _prediction(answer: StretchAnswer) -> Iterator[str]:
    predicted = answer.predicted
    if answer.ending not in (Ending.FOUND, Ending.NONE_CLOSES):
        return
    if predicted is None:
        yield (
            "What the noise scale predicts is unknown: the reused runs of the baseline were trained without --measure "
            "noise; `lbadvisor probe noise` measures it."
        )
        return
    agreement = ", which the search does not contradict"
    if predicted.low is None or predicted.high is None:
        between, agreement = "no interval", ", so whether the search agrees is not known"
    else:
        between = f"95% {predicted.low:.3g} to {predicted.high:.3g}"
        if answer.found is not None and predicted.low > answer.found.stretch:
            agreement = ": more than the gap needs"
        elif predicted.high <= answer.too_short:
            agreement = f": too little, for a stretch of {answer.too_short:.4g} does not close the gap"
    yield (
        f"The baseline's noise scale, {noise_scale_text(predicted.noise_scale)} examples on average over its runs, had "
        f"predicted {predicted.stretch:.3g} times ({between}){agreement}."
    )


_HEADINGS = (
    ("stretch", ",.4g"), ("closes the gap", ""), ("gap, points", "+z.2f"), ("gap, 95%", ""), ("closed, %", "z.0f"),
    ("closed, 95%", ""), ("seeds", "d"), ("seconds a run", ",.1f"), ("noise scale", ""), ("updates", ",d"),
    ("arm", ""), ("of the regime", ".1%"),
)  # fmt: skip


def _grid(answer: StretchAnswer) -> Grid:
    rows = tuple(
        (
            row.stretch, str(row.verdict), row.gap.value, _ends(row.gap, "+z.2f"), row.closed.value,
            _ends(row.closed, "z.0f"), row.seeds, row.cost.mean_seconds, _foretold(answer.predicted, row.stretch),
            row.cost.updates, row.cost.arm, row.share,
        )
        for row in answer.rows
    )  # fmt: skip
    headings, formats = zip(*_HEADINGS, strict=True)
    return Grid("Stretches, in times the baseline's epochs", headings, formats, rows)


def _foretold(predicted: PredictedStretch | None, stretch: float) -> str | None:
    if predicted is None or predicted.low is None or predicted.high is None:
        return None
    return "enough" if stretch >= predicted.high else "too short" if stretch < predicted.low else "perhaps"


def _graph(answer: StretchAnswer) -> Graph:
    measured = [(row.stretch, row.gap.value or 0.0, *row.gap.interval) for row in answer.rows if row.gap.interval]
    stretches, gaps, lows, highs = zip(*measured, strict=True)
    first, last = answer.rows[0].stretch, answer.rows[-1].stretch
    naive, margin = answer.naive.value or 0.0, answer.question.margin
    remaining = margin.value / 100 * naive if margin.unit == "%" else margin.value
    series = [
        Series("gap, 95%", stretches, gaps, lows, highs),
        Series("naive large batch", (first, last), (naive, naive), style="dashed"),
        Series(f"margin, {margin}", (first, last), (remaining, remaining), style="dashed"),
    ]
    if answer.predicted is not None:
        ends = [answer.predicted.low, answer.predicted.stretch, answer.predicted.high]
        known = tuple(end for end in ends if end is not None)
        label, level = "predicted by the noise scale", (0.0,) * len(known)
        series.append(
            Series(label, known, level, style="points")
            if len(known) == 1
            else Series(f"{label}, 95%", known, level, style="dashed")
        )
    return Graph(
        "Gap to the baseline against the stretch",
        "stretch, times the baseline's epochs",
        "gap, points of error",
        tuple(series),
        logarithmic_x=True,
        note="A stretch closes the gap if its whole band is below the margin; where the margin is a share of the naive "
        "gap, the table's interval of that share decides.",
    )


def _caveats(answer: StretchAnswer) -> Iterator[str]:
    question, judged = answer.question, [row for row in answer.rows if row.seeds >= answer.question.first_look]
    yield (
        f"A stretch closes the gap if the whole 95% interval of what remains is below the margin, {question.margin}: "
        "this program's choice or yours, not a paper's."
    )
    if question.looks > 1:
        yield (
            f"A stretch may be looked at {question.looks} times as seeds are added: its intervals are Bonferroni's for "
            "all these looks together."
        )
    yield "To raise --seeds after reading this is one more look, which these intervals do not allow for."
    if len(judged) > 1:
        yield f"Of {len(judged)} stretches each is judged at 95% on its own: one of them may be wrong by chance."
    found = answer.found
    if found is not None and found.stretch > 1:
        yield (
            f"Only these stretches were tried: the smallest that closes the gap may be less than {found.stretch:.4g}"
            f"{f', though more than {answer.too_short:.4g}' if answer.too_short else ''}."
        )
    if len(answer.of.devices) > 1:
        yield f"The runs were trained on different devices ({', '.join(answer.of.devices)}), and so were their times."
    if answer.predicted is not None:
        yield (
            "The noise scale predicts speed, under SGD with a Hessian close to a multiple of the identity (McCandlish "
            "et al. 2018, arXiv:1812.06162), and says nothing of generalization; for OLMo it was too small by several "
            "orders of magnitude (Merrill et al. 2025, arXiv:2505.23971)."
        )
        yield from stretch_caveats(answer.predicted.noise_scale, answer.of.batch_size, answer.of.target_batch_size)
