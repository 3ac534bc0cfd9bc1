"""The gradient's noise, measured, and what it says of batch sizes."""
