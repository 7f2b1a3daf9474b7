"""The protocol of an evaluation, as data."""

import dataclasses

import pytest

from gatezoo.recipes import protocol
from gatezoo.recipes.protocol import EvalProtocol
from gatezoo.utils.images import MIN_SIZE


def test_protocol_of_plain_data():
    assert EvalProtocol.from_dict({"scales": [0.5, 1], "flip": True}) == EvalProtocol((0.5, 1), True)
    assert EvalProtocol().changes() == {}
    assert EvalProtocol.from_dict({"iterations": "auto"}).changes() == {"iterations": "auto"}
    assert EvalProtocol(pad_to=513, merge="").changes() == {"pad_to": 513}
    assert protocol._MIN_SIZE == MIN_SIZE


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (dict(scales=()), r"scales must be positive numbers, at least one; got \[\]"),
        (dict(scales=(1, -1)), r"scales must be positive numbers, at least one; got \[1, -1\]"),
        (dict(scales="1"), "scales must be a list of finite numbers; got '1'"),
        (dict(flip=1), "flip must be True or False; got 1"),
        (dict(window_size=32), "window_size must be a number of pixels larger than 32; got 32"),
        (dict(pad_to=8), "pad_to must be a number of pixels larger than 32; got 8"),
        (dict(pad_to=64.5), "pad_to must be a whole number"),
        (dict(window_overlap=0.5), "overlap requires a window; got overlap 0.5 without one"),
        (dict(window_size=64, window_overlap=1), "window_overlap must be from 0 and below 1; got 1"),
        (dict(merge="min"), "merge must be one of max, mean; got 'min'"),
        (dict(merge="max", flip=True), "merge must come with whole images at one scale; got merge='max' with flip"),
        (dict(merge="max", pad_to=513), "merge must come with whole images .* got merge='max' with pad_to"),
        (dict(merge="max", scales=(1, 2)), "merge must come with whole images .* with several scales"),
        (dict(iterations=0), "iterations must be a number of passes, at least 1; got 0"),
        (dict(iterations="all"), "iterations must be a whole number up to 1000000 or 'auto' or None; got 'all'"),
        (dict(depth_blur=-1), "depth_blur must be a number of pixels, 0 or more; got -1"),
        (dict(scale=1), "fields of a protocol must be one of scales, .*; got 'scale'. Did you mean scales"),
    ],
)
def test_protocol_refuses_what_no_evaluation_can_do(fields, text):
    with pytest.raises(ValueError, match=text) as error:
        EvalProtocol.from_dict(fields)
    assert "\n" not in str(error.value)


def test_protocol_fields_are_no_fields_of_a_recipe():
    """``assumed`` names both without a prefix."""
    from gatezoo.recipes.recipe import Recipe

    assert not {field.name for field in dataclasses.fields(Recipe)} & set(EvalProtocol.__dataclass_fields__)
