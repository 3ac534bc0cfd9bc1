"""The largest numbers that a recipe or a plan may hold."""

MOST_COUNT = 2**53
"""Of examples or updates: above this a float no longer counts every one."""
MOST_EPOCHS = 1e9
