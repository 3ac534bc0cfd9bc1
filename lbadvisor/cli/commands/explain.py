"""`lbadvisor explain`: half a page on a topic, with formula, source and when it fails."""

from typing import Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options.command import command


@command
def explain(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]", help="What to explain; without one, list all.", autocompletion=completion.topics
        ),
    ] = None,
) -> None:
    """Explain a rule or a measurement in half a page: formula, source, and when it fails.

    Formulas and sources are those of the plan's own lines. Without a topic, lists them.
    """
    from lbadvisor.cli.display.console import say, stdout
    from lbadvisor.planning.explanation import TOPICS, explanation

    console = stdout()
    if topic is None:
        from lbadvisor.cli.display.table import Heading, Table, print_table

        print_table(console, Table((Heading("topic", "name"), Heading("about", "prose")), tuple(TOPICS.items())))
        say(console, "`lbadvisor explain TOPIC` explains one.")
    elif console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(explanation(topic)))
    else:
        print(explanation(topic), end="")  # noqa: T201
