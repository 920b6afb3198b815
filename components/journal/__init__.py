"""A file that makes groups of writes durable before their store has them; see `file.py` and `records.py`."""
