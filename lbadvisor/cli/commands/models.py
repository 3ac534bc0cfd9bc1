"""`lbadvisor models`: the networks and data sets that a recipe can name."""

from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.words import AsJson


@command
def models(as_json: AsJson = False) -> None:
    """List the networks, and the data sets known by name."""
    from dataclasses import asdict

    from lbadvisor.cli.display.console import print_json, say, stdout
    from lbadvisor.cli.display.table import Heading, Table, print_table
    from lbadvisor.recipe.catalog import DATASETS, NETWORKS, TIMM, TORCHVISION, TORCHVISION_NETWORKS

    if as_json:
        torchvisions = [{"name": name} | asdict(facts) for name, facts in TORCHVISION_NETWORKS.items()]
        print_json(
            {
                "schema": 1,
                "networks": [{"name": name} | asdict(facts) for name, facts in NETWORKS.items()],
                "torchvision_networks": torchvisions,
                "datasets": [{"name": name} | asdict(facts) for name, facts in DATASETS.items()],
            }
        )
        return
    networks = Table(
        (Heading("network", "name"), Heading("batch norm", "name"), Heading("source", "prose")),
        tuple((name, "yes" if network.batch_norm else "no", network.source) for name, network in NETWORKS.items()),
    )
    datasets = Table(
        (
            Heading("data set", "name"),
            Heading("training"),
            Heading("test"),
            Heading("classes"),
            Heading("image"),
            Heading("source", "prose"),
        ),
        tuple(
            (
                name,
                f"{dataset.train_examples:,}",
                f"{dataset.test_examples:,}",
                f"{dataset.classes:,}",
                "x".join(map(str, dataset.shape)),
                dataset.source,
            )
            for name, dataset in DATASETS.items()
        ),
    )
    console = stdout()
    for table in (networks, datasets):
        print_table(console, table)
        console.print()
    for batch_norm, words in ((True, "with"), (False, "without")):
        own = [name for name, facts in TORCHVISION_NETWORKS.items() if facts.batch_norm is batch_norm]
        names = ", ".join(name.removeprefix(TORCHVISION) for name in own)
        say(console, f"{TORCHVISION}NAME is torchvision's own network, {words} batch norm: {names}.")
        console.print()
    say(console, f"{TIMM}NAME is timm's own network, with lbadvisor[timm]; model.factory and data.factory are yours.")
    say(console, "Any other data set is a folder of class folders under the data folder: NAME/train/CLASS/*.")
