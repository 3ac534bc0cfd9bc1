"""The groups of layers whose weights are measured together: one layer with its batch norm, or a stage of blocks."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


def layer_groups(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The groups by name, in order, each as its places among `model.parameters()`; every parameter is in one.

    A group is a layer with the normalization behind it, or consecutive blocks of one class with equally many output
    channels, which are a stage of a residual network. A module with a name gives it to its group (`layer1`); those that
    are only numbered are counted by kind (`linear 2`, `stage 3`). Parameters outside all of them are `other`.
    """
    places = {id(parameter): place for place, parameter in enumerate(model.parameters())}
    groups: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    current, stage = "", None
    for name, module in _units(model):
        numbered, before = name.rpartition(".")[2].isdecimal(), stage
        if not (current and isinstance(module, NORMALIZATIONS)):
            is_block = any(True for _ in module.children())
            stage = (type(module), list(module.parameters())[-1].size(0)) if numbered and is_block else None
            if stage is None or stage != before:
                kind = "stage" if is_block else type(module).__name__.lower().rstrip("123d")
                counts[kind] += 1
                current = f"{kind} {counts[kind]}" if numbered else name
        found = [places.pop(id(parameter)) for parameter in module.parameters() if id(parameter) in places]
        groups.setdefault(current, []).extend(found)
    if places:
        groups["other"] = list(places.values())
    return {name: tuple(of_group) for name, of_group in groups.items() if of_group}


def _units(module: nn.Module, lead: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The children with parameters, by name; of a sequence that holds layers itself, such as VGG's features, those."""
    for name, child in module.named_children():
        if any(True for _ in child.parameters()):
            holds_layers = any(list(inner.parameters(recurse=False)) for inner in child.children())
            if isinstance(child, nn.Sequential) and holds_layers:
                yield from _units(child, f"{lead}{name}.")
            else:
                yield f"{lead}{name}", child
