"""Windlass beside other queues: see ../README.md."""
