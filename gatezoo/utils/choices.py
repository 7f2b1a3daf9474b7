"""Check names and suggest similar ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from .text import first_values, shorten

# Characters of a list of choices in a message; of a longer one the first and the last are shown.
_MAX_LISTED = 250
# Keywords of segmentation_models_pytorch, torchvision and transformers, and what they are called here.
_OTHER_SPELLINGS = {
    "encoder_name": "backbone=",
    "encoder_weights": "pretrained_backbone=True",
    "encoder_output_stride": "output_stride=",
    "weights_backbone": "pretrained_backbone=True",
    "weights": "pretrained=True",
    "classes": "num_classes=",
    "num_labels": "num_classes=",
    "in_channels": "in_chans=",
    "num_channels": "in_chans=",
    "aux_loss": "auxiliary=",
}


def suggest(word: str, words: Iterable[str]) -> str:
    """Return ``". Did you mean a, b or c?"`` with up to three similar words, or an empty string."""
    near = get_close_matches(str(word), list(words), n=3)
    if not near:
        return ""
    *others, last = near
    return f". Did you mean {', '.join(others) + ' or ' if others else ''}{last}?"


def suggest_keyword(keyword: str, accepted: Collection[str]) -> str:
    """Return ``": use OURS="`` for another library's keyword that one of ours replaces, else similar accepted ones."""
    ours = _OTHER_SPELLINGS.get(keyword, "")
    if ours.partition("=")[0] in {"pretrained", *accepted}:
        return f": use {ours}"
    return suggest(keyword, accepted)


def check_choice(name: str, value: str, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: it is not; the message lists the choices, if they are not too many, and suggests similar ones.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(choices)
        if len(listed) > _MAX_LISTED:
            listed = first_values(choices)
        raise ValueError(f"{name} must be one of {listed}; got {shorten(value)}{suggest(value, choices)}")
    return value


def check_fields(kind: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check the keys of a mapping.

    Args:
        kind: the mapping, with an article, for the message: ``"a recipe"``.
        given: its keys.
        known: the keys it may have.

    Raises:
        ValueError: an unknown key; the message lists the known ones and suggests similar ones.
    """
    known = list(known)
    for key in given:
        check_choice(f"fields of {kind}", key, known)
