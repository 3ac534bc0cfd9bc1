"""The exponent that moves the weights as far as the baseline, from short runs."""
