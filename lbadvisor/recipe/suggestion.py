"""What was probably meant by a word that is not known."""

from collections.abc import Iterable


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A question for the candidate nearest to `word`, or the list of all candidates where none is near."""
    import difflib  # only an error needs it

    names = list(candidates)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"
