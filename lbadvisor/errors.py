"""Every error that `lbadvisor` raises deliberately, and its exit code on the command line.

LbadvisorError          1   something failed
├── DataError           1   a data set is missing, damaged, or cannot be trained on
├── StoreError          1   the database cannot be opened, read or written
│   ├── UnknownRunError 2   no run of that name or number
│   └── NoAnswerError   1   the database's server does not answer, for now
├── CheckpointError     1   a checkpoint is damaged
├── OutOfMemoryError    1   the device's memory does not hold a micro-batch
├── CompilationError    1   the network cannot be compiled
├── DivergedError       1   the loss is no longer finite
├── RankError           1   another rank of a training ended or does not answer
├── OwnCodeError        1   the code that a recipe names failed
├── NotIdenticalError   1   a resumed run did not end with the bits of one that was not stopped
├── UsageError          2   the request makes no sense
│   ├── RecipeError     2   a recipe is wrong; carries every problem with its place
│   └── PlanError       2   a rule cannot be applied to these numbers
└── RefusedError        3   it makes sense, and would harm: adapting twice, resuming with another recipe
    └── InTrainingError 3   another process trains the run
"""

from dataclasses import dataclass


class LbadvisorError(Exception):
    """Something went wrong; the message says what, where, and what to do."""

    exit_code = 1


class DataError(LbadvisorError):
    """A data set is missing, damaged, or cannot be trained on."""


class StoreError(LbadvisorError):
    """The database cannot be opened, read or written."""


class UnknownRunError(StoreError):
    """There is no run of that name or number."""

    exit_code = 2


class NoAnswerError(StoreError):
    """The database's server is down, restarts or cannot be reached: the same may work in a moment."""


class CheckpointError(LbadvisorError):
    """A checkpoint is damaged or cannot be read."""


class OutOfMemoryError(LbadvisorError):
    """An update does not fit into the device's memory."""


class CompilationError(LbadvisorError):
    """The network cannot be compiled on this machine."""


class DivergedError(LbadvisorError):
    """A training's loss is no longer finite."""


class RankError(LbadvisorError):
    """Another rank of a training has ended, or does not answer."""


class OwnCodeError(LbadvisorError):
    """Code of the user's, which a recipe names, raised an exception."""


class NotIdenticalError(LbadvisorError):
    """A killed and resumed run did not end with the same bits as an uninterrupted one."""


class UsageError(LbadvisorError):
    """The request makes no sense."""

    exit_code = 2


class PlanError(UsageError):
    """A rule cannot be applied to these numbers."""


class RefusedError(LbadvisorError):
    """The request is possible, but would silently spoil something."""

    exit_code = 3


class InTrainingError(RefusedError):
    """Another process is training the run."""


OF_EVERY_RUN = (UsageError, RefusedError, RankError)
"""What a command's other runs would meet as well; any other error is of the one run that raised it."""


def as_ours(error: Exception) -> LbadvisorError:
    """The error itself, or one that says what was not expected."""
    if isinstance(error, LbadvisorError):
        return error
    ours = LbadvisorError(f"unexpected {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours


def reason_of(error: BaseException) -> str:
    """The message of an error from the system or another library, as one line: `Permission denied`."""
    cause = getattr(error, "reason", None)  # wrapped by a failed download
    if isinstance(cause, BaseException):
        return reason_of(cause)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@dataclass(frozen=True, slots=True)
class RecipeProblem:
    """One problem in a recipe.

    `field` is a dotted path (`schedule.milestones[0].epoch`); `line` and `column` count from 1 and are None if the
    value came from the command line or from Python; `source_line` is the text of that line.
    """

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    source_line: str | None = None
    hint: str | None = None


class RecipeError(UsageError):
    """A recipe is wrong: every problem found, in the order of the file.

    `origin` is the recipe's file, or names another source. The message is ready to print: for each problem,
    `file:line:column: field: what is wrong`, the line, a caret under the place, and a hint.
    """

    def __init__(self, origin: str, problems: tuple[RecipeProblem, ...]) -> None:
        self.origin = origin
        self.problems = problems
        super().__init__("\n".join(_located(origin, problem) for problem in problems))

    def __reduce__(self) -> tuple[type["RecipeError"], tuple[str, tuple[RecipeProblem, ...]]]:
        # An exception is rebuilt from its message in another process, unless it says otherwise.
        return type(self), (self.origin, self.problems)


def _located(origin: str, problem: RecipeProblem) -> str:
    place = origin if problem.line is None else f"{origin}:{problem.line}:{problem.column}"
    subject = f"{problem.field}: " if problem.field else ""
    lines = [f"{place}: {subject}{problem.message}"]
    if problem.source_line is not None and problem.column is not None:
        # The padding keeps tabs, so that the caret is under its character.
        padding = "".join("\t" if c == "\t" else " " for c in problem.source_line[: problem.column - 1])
        lines += [f"  | {problem.source_line}", f"  | {padding}^"]
    if problem.hint:
        lines.append(f"  = {problem.hint}")
    return "\n".join(lines)
