"""`lbadvisor schema`: what a recipe may hold."""

from lbadvisor.advisor.recipe import json_schema
from lbadvisor.cli.console import print_json


def schema() -> None:
    """Print the JSON Schema of a recipe."""
    print_json(json_schema())
