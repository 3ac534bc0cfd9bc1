"""The house itself: its modules import one another in one direction, and one name means one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

import lbadvisor

HOUSE = Path(lbadvisor.__file__).parent
MODULES = [path for path in HOUSE.rglob("*.py") if "versions" not in path.parts]


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


def test_no_two_classes_have_one_name():
    """Names that are given to a type count as well, such as `Shape = tuple[int, int, int]`."""
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            for name in _types_made_by(node):
                homes[name].append(str(path.relative_to(HOUSE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def _types_made_by(node: ast.stmt) -> Iterator[str]:
    names = [node.name] if isinstance(node, ast.ClassDef) else []
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    yield from (name for name in names if name[0].isupper() and not name.isupper())


def test_no_two_modules_have_one_name():
    """A command's module is called as the command is, whatever else is called so."""
    homes = defaultdict(list)
    for path in MODULES:
        if path.name != "__init__.py" and path.parent.name != "commands":
            homes[path.stem].append(str(path.relative_to(HOUSE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_one_module_opens_a_store():
    assert _modules_with(r"\bStore\.(open|at)\(") == {"runs/databases.py"}


def test_what_only_sqlite_understands_is_in_one_module():
    """But for migrations, which are history, and what SQLAlchemy asks of SQLite alone (`sqlite_...=`)."""
    words = "PRAGMA|9e999|sqlite_master|json_extract|import sqlite3|ON CONFLICT|immutable="
    assert _modules_with(words) == {"store/sqlite.py"}


def test_what_only_postgresql_understands_is_in_one_module():
    assert _modules_with("import psycopg|advisory|pg_locks|sqlstate|SET lock_timeout") == {"store/postgresql.py"}


def test_the_databases_are_told_apart_in_one_module():
    assert _modules_with(r"from lbadvisor\.store import (sqlite|postgresql)\n") == {
        "store/dialect.py",
        "store/schema.py",
    }


def _modules_with(words: str) -> set[str]:
    return {str(path.relative_to(HOUSE)) for path in MODULES if re.search(words, path.read_text())}


MOST_LINES = 60
MOST_PARAMETERS = 10
REASON = "# Longer than a function should be: "


def test_a_function_that_is_long_says_why():
    """A command's parameters are its options, one each: of a command only the body counts."""
    long = [
        f"{path.relative_to(HOUSE)}:{node.lineno} {node.name}"
        for path in HOUSE.rglob("*.py")
        for lines in [path.read_text().splitlines()]
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.FunctionDef) and _is_long(node)
        if not lines[node.lineno - 2].strip().startswith(REASON)
    ]
    assert long == []


def _is_long(function: ast.FunctionDef) -> bool:
    if any(isinstance(decorator, ast.Name) and decorator.id == "command" for decorator in function.decorator_list):
        described, last = function.body[0], function.body[-1]
        return last.end_lineno - described.end_lineno > MOST_LINES
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    own = [parameter for parameter in parameters if parameter.arg not in ("self", "cls")]
    return function.end_lineno - function.lineno >= MOST_LINES or len(own) > MOST_PARAMETERS
