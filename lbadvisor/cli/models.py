"""`lbadvisor models`: the networks and data sets that a recipe can name."""

from lbadvisor.cli.command import command
from lbadvisor.cli.options import AsJson


@command
def models(as_json: AsJson = False) -> None:
    """List the networks, and the data sets that a name alone finds."""
    from dataclasses import asdict

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from lbadvisor.advisor.catalog import DATASETS, NETWORKS
    from lbadvisor.cli.console import print_json, stdout

    if as_json:
        print_json(
            {
                "schema": 1,
                "networks": [{"name": name} | asdict(facts) for name, facts in NETWORKS.items()],
                "datasets": [{"name": name} | asdict(facts) for name, facts in DATASETS.items()],
            }
        )
        return
    networks = Table(title="Networks", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in ("name", "batch norm", "source"):
        networks.add_column(column, overflow="fold")
    for name, network in NETWORKS.items():
        networks.add_row(Text(name), "yes" if network.batch_norm else "no", Text(network.source))
    datasets = Table(title="Data sets", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in ("name", "training", "test", "classes", "image", "source"):
        datasets.add_column(column, justify="left" if column in ("name", "source") else "right", overflow="fold")
    for name, dataset in DATASETS.items():
        sizes = (f"{size:,}".replace(",", " ") for size in (dataset.train_examples, dataset.test_examples))
        image = "x".join(map(str, dataset.shape))
        datasets.add_row(Text(name), *sizes, str(dataset.classes), image, Text(dataset.source))
    console = stdout()
    console.print(networks)
    console.print(datasets)
    console.print("torchvision:NAME is any of torchvision's classification networks, such as torchvision:resnet50.")
    console.print("Any other data set is a folder of class folders under the data folder: NAME/train/CLASS/*.")
