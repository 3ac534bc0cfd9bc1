"""A comparison as one self-contained HTML page, or as one picture."""
