"""Training recipes and the experiments of the papers' tables (``*.yaml``, one a table)."""
