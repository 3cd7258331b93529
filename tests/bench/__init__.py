"""Time and memory beside the peers: `python -m tests.bench`. It asserts nothing."""
