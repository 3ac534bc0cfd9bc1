"""What a run or a model tells of itself."""
