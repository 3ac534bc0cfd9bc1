"""What a run or a model reveals about itself."""
