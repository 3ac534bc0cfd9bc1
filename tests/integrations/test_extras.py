"""Without its library, an integration says how to install it."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("lightning_callback", "lightning.pytorch", "lightning"),
        ("accelerate_loop", "accelerate", "accelerate"),
        ("transformers_callback", "transformers", "transformers"),
    ],
)
def test_a_missing_library_is_told_with_the_command_that_installs_it(monkeypatch, module, library, extra):
    name = f"lbadvisor.integrations.{module}"
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=rf"{name} needs \w+: pip install 'lbadvisor\[{extra}\]'"):
        importlib.import_module(name)
