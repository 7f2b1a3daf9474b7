import numpy as np
import pytest

from gatezoo.utils.keyword_types import check_keyword


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", 3),
        (int, -1),
        ("int | None", None),
        ("float", 1),
        ("bool", False),
        ("bool | str | Path", "file"),
        ("tuple[int, ...]", [1, 2]),
        ("tuple[float, ...] | None", (0.5, 1)),
        ("Mapping[str, Any] | None", {"a": object()}),
        ("SomeClass", object()),
    ],
)
def test_values_of_the_annotated_type_are_returned(annotation, value):
    assert check_keyword("x", value, annotation) is value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", "3"),
        (int, True),
        ("int", 3.0),
        ("int", 10**9),
        ("float", float("nan")),
        ("bool", 1),
        ("str", None),
        ("tuple[int, ...]", "12"),
        ("tuple[int, ...]", [1, 2.5]),
        ("tuple[float, ...]", [float("inf")]),
        ("Mapping[str, Any] | None", {3: 4}),
        ("Mapping[str, Any] | None", ["a"]),
    ],
)
def test_other_values_are_refused_in_one_line(annotation, value):
    with pytest.raises(ValueError, match=r"^x must be .*; got ") as caught:
        check_keyword("x", value, annotation)
    assert "\n" not in str(caught.value)


def test_integers_of_numpy_become_plain_ones():
    assert type(check_keyword("x", np.int64(3), "int")) is int
