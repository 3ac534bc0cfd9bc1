"""Hyperparameter advisor and resumable trainer for large-batch training."""

__version__ = "0.1.0"
