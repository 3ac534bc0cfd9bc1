"""`lbadvisor schema`: what a recipe may contain."""

from lbadvisor.cli.options.command import command


@command
def schema() -> None:
    """Print the JSON Schema of a recipe."""
    from lbadvisor.cli.display.console import print_json
    from lbadvisor.recipe.recipe import json_schema

    print_json(json_schema())
