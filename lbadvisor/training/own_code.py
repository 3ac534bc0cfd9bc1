"""The user's own code: what a recipe's factories make, and whose fault it is if they fail."""

import hashlib
import importlib
import inspect
import random
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lbadvisor.errors import LbadvisorError, OwnCodeError, RecipeError, RecipeProblem, RefusedError, reason_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.out_of_memory import is_of_memory
from lbadvisor.training.seeds import derived_seed

CodeFolders = tuple[Path, ...] | None
"""Where factories are looked for, besides where Python looks anyway; None: none of a recipe's code may be run.

A recipe's own file is the user's word to run it. A recipe from a database or a checkpoint may be a stranger's.
"""


@dataclass(frozen=True, slots=True)
class Factory:
    """A factory of `recipe`: the `field` that names it, its name `module:function`, and its keyword arguments."""

    recipe: str
    field: str
    name: str
    arguments: dict[str, Any]

    def make(self, code: CodeFolders) -> Any:
        """What the factory returns. Raises `RefusedError` if it may not be run, and `RecipeError`."""
        function = self._found(code)
        try:
            # What it prints does not belong on stdout.
            with naming_own_code(self.name), redirect_stdout(sys.stderr):
                return function(**self.arguments)
        except OwnCodeError as error:
            raise self.wrong(str(error), f"its arguments are those of {self.name}{_signature(function)}") from error

    def wrong(self, what: str, hint: str) -> RecipeError:
        """The error of a factory that cannot be used; the command line adds its place in the recipe's file."""
        return RecipeError(self.recipe, (RecipeProblem(self.field, what, hint=hint),))

    def source_digest(self) -> str | None:
        """SHA-256 of the file that defines the factory, which was called already; None if there is no such file."""
        file = getattr(sys.modules.get(self.name.partition(":")[0]), "__file__", None)
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else None

    def _found(self, code: CodeFolders) -> Callable[..., Any]:
        if code is None:
            raise RefusedError(
                f"the recipe {self.recipe} names code of its own, {self.field} = {self.name}, which is not run "
                "unasked, as a stored recipe may be a stranger's: give the recipe's file (`lbadvisor train RECIPE` "
                "resumes the run as well), or --allow-code"
            )
        # At the end: a user's `random.py` must not stand in for Python's.
        sys.path += [str(folder) for folder in code if str(folder) not in sys.path]
        module_name, _, path = self.name.partition(":")
        try:
            with naming_own_code(f"importing {module_name}"), redirect_stdout(sys.stderr):
                found: Any = importlib.import_module(module_name)
        except OwnCodeError as error:
            if not (isinstance(error.__cause__, ModuleNotFoundError) and _is_part(error.__cause__.name, module_name)):
                raise self.wrong(str(error), "make the module importable by Python") from error
            folders = ", ".join(str(folder) for folder in code)
            hint = f"put it into the recipe's folder or the working folder ({folders}), or install it"
            raise self.wrong(f"there is no module {error.__cause__.name}", hint) from error
        for part in path.split("."):
            if not hasattr(found, part):
                where = getattr(sys.modules[module_name], "__file__", None) or "Python itself"
                raise self.wrong(
                    f"{module_name}, which is {where}, has no {path}", "check the name, and which file it is"
                )
            found = getattr(found, part)
        if not callable(found):
            raise self.wrong(f"is a {type(found).__name__}, which cannot be called", "name a function or a class")
        function: Callable[..., Any] = found
        return function


def _signature(function: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(function))
    except (TypeError, ValueError):  # of a function that is not written in Python
        return "(...)"


def _is_part(missing: str | None, module: str) -> bool:
    return missing is not None and (module == missing or module.startswith(f"{missing}."))


def factories_of(recipe: Recipe) -> dict[str, Factory]:
    """The recipe's factories by the table that names them."""
    return {
        path: Factory(recipe.name, f"{path}.factory", str(table.factory), table.arguments.given)
        for path, table in recipe.own_code.items()
    }


def source_digests(recipe: Recipe) -> dict[str, str]:
    """The SHA-256 of the file that defines each factory, by the factory's name, if it is a file of Python."""
    digests = {factory.name: factory.source_digest() for factory in factories_of(recipe).values()}
    return {name: digest for name, digest in digests.items() if digest is not None}


@contextmanager
def naming_own_code(what: str | None) -> Iterator[None]:
    """While entered, an exception of the user's code becomes an `OwnCodeError` with its place; None: it stays."""
    try:
        yield
    except (LbadvisorError, GeneratorExit):
        raise
    except (Exception, SystemExit) as error:
        if what is None or is_of_memory(error):
            raise
        said = f": {reason_of(error)}" if str(error).strip() else ""
        raise OwnCodeError(f"{what} failed: {type(error).__name__}{said}{_place(error)}") from error


def naming_own_network(recipe: Recipe) -> AbstractContextManager[None]:
    """The same for the network of `model.factory`, if the recipe has one."""
    return naming_own_code(f"the network of {recipe.model.factory}" if recipe.model.factory is not None else None)


def _place(error: BaseException) -> str:
    """Where the user's code raised it: the last of its lines, which are not torch's, Python's or this program's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _is_own(filename: str) -> bool:
    path = Path(filename)
    others = Path(torch.__file__).parent, Path(__file__).parents[1]
    is_stdlib = path.is_relative_to(sysconfig.get_path("stdlib")) and "site-packages" not in path.parts
    return not (filename.startswith("<") or is_stdlib or any(map(path.is_relative_to, others)))


def seed_all(seed: int, purpose: str, index: int) -> None:
    """Seed the global generators that code draws from: torch's, Python's and numpy's."""
    derived = derived_seed(seed, purpose, index)
    torch.default_generator.manual_seed(derived)
    random.seed(derived)
    np.random.seed(derived % 2**32)


@contextmanager
def keeping_generators() -> Iterator[None]:
    """On exit the global generators are as they were before."""
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def described(value: Any) -> str:
    """A value of the user's code in an error: its type, and of tensors the shape."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} ({', '.join(map(str, value.shape))})"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(map(described, value[:4])) or 'nothing'}"
    return f"a {type(value).__name__}"
