"""No keyword of a model and no value of an experiment changes unseen: defaults matter as much as equations."""

import json

import pytest
from helpers.golden_tables import TABLES, as_lines, golden_path


@pytest.mark.parametrize("name", TABLES)
def test_values_are_the_reviewed_ones(name):
    found, reviewed = json.loads(as_lines(TABLES[name]())), json.loads(golden_path(name).read_text())
    assert list(found) == list(reviewed), "names and their order"
    for key, values in found.items():
        assert values == reviewed[key], f"{key}: if the change is meant, run python -m helpers.golden_tables"
