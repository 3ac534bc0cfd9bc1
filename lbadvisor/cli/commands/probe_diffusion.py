"""`lbadvisor probe diffusion`: the law by which the weights of stored runs leave their first values."""

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command


@command
def diffusion(runs: options.RunNames, shown: options.Shown, database: options.Database = None) -> None:
    """Fit the growth of the weight distance: a logarithm of the updates, a square root, or another power.

    Each run is fitted from the start of the full learning rate until it first falls, and so are its groups of layers if
    it was trained with --measure layers. Says "undetermined" if the data cannot tell: fewer than 1.5 decades of
    updates, or laws that fit alike. Runs that differ only in their seed form a group; b of a + b ln t is compared
    between groups, as in Figure 2 of Hoffer et al. 2017.
    """
    from lbadvisor.cli.display.diagnosis_display import show_diagnosis
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.diagnostics.diffusion.diffusion import diffusion_of
    from lbadvisor.diagnostics.diffusion.diffusion_diagnosis import diagnosis_of_diffusion
    from lbadvisor.runs.databases import opened
    from lbadvisor.runs.selection import select

    check_reports(shown.html, shown.png)
    with opened(database) as store:
        selection = select(store, runs)
        found = diffusion_of(store, selection.runs, selection.labels)
    show_diagnosis(found, diagnosis_of_diffusion(found), shown)
