"""The house itself: its modules import one another in one direction."""

from graphlib import CycleError, TopologicalSorter

import grimp


def test_no_module_imports_itself_through_others():
    """Imports for types alone count as well: two modules that need one another's types are one notion in two files."""
    graph = grimp.build_graph("lbadvisor", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 100
    circle = None
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle = " <- ".join(error.args[1])
    assert circle is None
