"""Suggests what an unknown word probably meant."""

from collections.abc import Iterable


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A question with the candidate nearest to `word`, or the list of all candidates if none is near."""
    import difflib  # only an error needs it

    names = list(candidates)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean `{near[0]}`?" if near else f"choose from {', '.join(names)}"
