"""The training loss around the initial weights and around minima."""
