"""Refines the scaling exponent: theory is the prior, measurements decide."""
