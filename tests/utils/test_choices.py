import pytest

from gatezoo.utils.choices import check_choice, check_fields, suggest


@pytest.mark.parametrize(
    ("word", "words", "hint"),
    [
        ("colr", ["color", "size"], ". Did you mean color?"),
        ("resnet5", ["resnet18", "resnet50", "vgg11"], ". Did you mean resnet50 or resnet18?"),
        ("abcd", ["abcde", "abcdef", "abcdefg", "abcdefgh"], ". Did you mean abcde, abcdef or abcdefg?"),
        ("zzz", ["color"], ""),
        (3, ["3"], ". Did you mean 3?"),
    ],
)
def test_suggest(word, words, hint):
    assert suggest(word, words) == hint


def test_check_choice_returns_the_value_or_lists_the_choices():
    assert check_choice("pool", "max", {"max": 1, "mean": 2}) == "max"
    with pytest.raises(ValueError, match=r"^pool must be one of max, mean; got 'maxx'\. Did you mean max\?$"):
        check_choice("pool", "maxx", ["max", "mean"])
    with pytest.raises(ValueError, match=r"^pool must be one of max, mean; got 3$"):
        check_choice("pool", 3, ["max", "mean"])


def test_check_fields_names_the_first_unknown_key():
    check_fields("a recipe", {"lr": 1, "steps": 2}, ["lr", "steps"])
    with pytest.raises(
        ValueError, match=r"^fields of a recipe must be one of lr, steps; got 'step'\. Did you mean steps\?$"
    ):
        check_fields("a recipe", {"lr": 1, "step": 2, "zzz": 3}, ["lr", "steps"])
