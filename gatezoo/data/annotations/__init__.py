"""Readers of what annotation programs write: one format a file, each a row of the table in ``formats``."""
