"""Refining the scaling exponent: the theory is the prior, measurements are the judge."""
