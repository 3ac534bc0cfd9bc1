"""How the weights leave their first values."""
