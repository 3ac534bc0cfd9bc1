"""The largest numbers that a recipe or a plan may hold."""

MOST_COUNT = 2**53
"""Limit for examples or updates: above it, floats can no longer count every one."""
MOST_EPOCHS = 1e9
