"""A plan in the loops of other libraries: one module for each, which needs the extra of its name."""
