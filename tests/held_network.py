"""A network that waits in the midst of its training: for the tests of processes that nobody else can hold."""

from pathlib import Path

DIGITS = Path(__file__).parents[1] / "recipes" / "digits.toml"
CODE = """
import time
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def __init__(self, folder):
        super().__init__()
        self.layers, self.calls = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)), 0
        self.folder = Path(folder)

    def forward(self, x):
        if self.training:
            self.calls += 1
            if (self.folder / "slow").exists():
                time.sleep(0.05)
            hold, held = (self.folder / f"{word}-{len(x)}" for word in ("hold", "held"))
            if self.calls == 5 and hold.exists():
                held.touch()
                while hold.exists():
                    time.sleep(0.01)
        return self.layers(x)
"""


class Holds:
    """Of the trainings of the digits by `recipe` those with batches of such `sizes` wait in the fifth update they make.

    Those who resume one wait too, until it is `released`. While there is a file `slow`, an update takes 50 ms.
    """

    def __init__(self, folder: Path, *sizes: int) -> None:
        self._folder, self._sizes = folder, sizes
        (folder / "held_net.py").write_text(CODE)
        self.recipe = folder / "held.toml"
        model = f'factory = "held_net:Net"\narguments = {{ folder = "{folder}" }}\nbatch_norm = false #'
        self.recipe.write_text(DIGITS.read_text().replace('name = "digits_mlp"', model))
        self.hold()

    def hold(self) -> None:
        """From now on, they wait; none does yet."""
        for size in self._sizes:
            (self._folder / f"held-{size}").unlink(missing_ok=True)
            (self._folder / f"hold-{size}").touch()

    def are_held(self) -> bool:
        """Whether one of each size waits."""
        return all((self._folder / f"held-{size}").exists() for size in self._sizes)

    def release(self, *sizes: int) -> None:
        """Let those of such sizes train on, of all if none is named."""
        for size in sizes or self._sizes:
            (self._folder / f"hold-{size}").unlink()
