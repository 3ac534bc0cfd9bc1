"""`lbadvisor schema`: what a recipe may hold."""

from lbadvisor.cli.command import command


@command
def schema() -> None:
    """Print the JSON Schema of a recipe."""
    from lbadvisor.advisor.recipe import json_schema
    from lbadvisor.cli.console import print_json

    print_json(json_schema())
