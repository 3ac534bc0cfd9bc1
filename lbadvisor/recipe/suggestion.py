"""Suggests what an unknown word probably meant."""

from collections.abc import Iterable


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The one of the names that is nearest to `word`; None if none is near."""
    import difflib  # only an error needs it

    return next(iter(difflib.get_close_matches(word, list(names), n=1)), None)


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A question with the candidate nearest to `word`, or the list of all candidates if none is near."""
    names = list(candidates)
    near = nearest(word, names)
    return f"did you mean `{near}`?" if near else f"choose from {', '.join(names)}"
