"""A character-level transformer and its text: the model and the data of `char_transformer.toml`.

N sequences, B of a batch, T characters of each, D the width.
"""

import pydoc_data.topics

import torch
from torch import Tensor, nn

ALPHABET = 128  # ASCII; any other character becomes a question mark

Split = tuple[Tensor, Tensor]


def text() -> str:
    """Python's own help texts, as `help("if")` prints them, in the order of their names.

    Each release of Python edits them a little, so that results are comparable only within a release.
    """
    topics = pydoc_data.topics.topics
    return "\n".join(topics[name] for name in sorted(topics))


def sequences(length: int, train: int, held_out: int) -> tuple[Split, Split]:
    """Training and evaluation set: characters (N, T) and the character after each (N, T).

    The evaluation set is the text that follows the training set's. Raises `ValueError` if there is too little text.
    """
    characters = torch.frombuffer(bytearray(text().encode("ascii", "replace")), dtype=torch.uint8).long()
    needed = (train + held_out) * length + 1
    if len(characters) < needed:
        raise ValueError(f"Python's help texts have {len(characters)} characters, and {needed} are needed")
    inputs, targets = (characters[first : first + needed - 1].view(-1, length) for first in (0, 1))
    return (inputs[:train], targets[:train]), (inputs[train:], targets[train:])


class CharTransformer(nn.Module):
    """Predicts each next character from those before it: logits (B, T, 128)."""

    def __init__(self, length: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(ALPHABET, width)
        self.positions = nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, ALPHABET))
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length), persistent=False)
        for embedding in (self.characters, self.positions):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, characters_BT: Tensor) -> Tensor:
        """Logits (B, T, 128) of the characters that follow `characters_BT`."""
        hidden_BTD = self.characters(characters_BT) + self.positions.weight
        for layer in self.layers:
            hidden_BTD = layer(hidden_BTD, src_mask=self.mask, is_causal=True)
        return self.output(hidden_BTD)
