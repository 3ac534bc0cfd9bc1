"""One module per schema, `NNNN_what_it_brought.py`; a released one is never changed."""
