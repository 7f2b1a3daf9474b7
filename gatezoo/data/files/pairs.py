"""Pairs of image and label files in a user's folder, found by the patterns of their names."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from pathlib import Path
from typing import NamedTuple

from ...utils.images import IMAGE_SUFFIXES
from ...utils.text import shorten
from .issue import Issue
from .layout import list_files, list_paths

IMAGE_DIR, LABEL_DIR = "images", "labels"
# As in a shell: "**/" is any number of folders, "*" a part of a name.
_WILDCARD = re.compile(r"((?:^|(?<=/))\*\*/|\*+)")
_IMAGE_SUFFIX = rf"(?i:{'|'.join(map(re.escape, IMAGE_SUFFIXES))})"


@dataclass(frozen=True)
class FolderLayout:
    """Where the images of a data folder lie, and their labels.

    In a pattern ``*`` is a part of a name and ``**`` any number of folders; all else is literal, but for the case of
    the suffix. A pattern that ends in ``*`` or ``.*`` takes every suffix of images. An image and its labels are those
    with the same text in the place of ``*``; that of ``**`` counts only where the rest does not tell files apart.

    Args:
        images: pattern of the image files, relative to the folder; default: ``images/*``.
        labels: pattern of the label files; default: ``labels/*`` and ``label_suffix``.
        label_suffix: the part of a label file's name after the stem of its image, if ``labels`` is not given.

    Raises:
        ValueError: a pattern without ``*``, patterns with another number of them, a suffix that is none, or a pattern
            of the labels beside their suffix.
    """

    images: str | None = None
    labels: str | None = None
    label_suffix: str = ".png"

    def __post_init__(self) -> None:
        for name, example in (("images", "images/*_training.tif"), ("labels", "1st_manual/*_manual1.gif")):
            pattern = getattr(self, name)
            if pattern is not None and not (isinstance(pattern, str) and _stars(pattern)):
                raise ValueError(
                    f"{name} must be a pattern with a * in the place of each image's own part; got "
                    f"{shorten(pattern)}: pass --{name} '{example}'"
                )
        if not self.label_suffix or re.search(r"[/*]", self.label_suffix):
            raise ValueError(
                f"label_suffix must be the ending of a file's name; got {shorten(self.label_suffix)}: "
                "pass --label-suffix _mask.png"
            )
        if self.labels is not None and self.label_suffix != FolderLayout.label_suffix:
            raise ValueError(
                f"labels must be given by a pattern or by a suffix; got {self.labels!r} and {self.label_suffix!r}: "
                "leave out --label-suffix"
            )
        if _stars(self.image_pattern) != _stars(self.label_pattern):
            raise ValueError(
                "the patterns of images and labels must have the same number of *, which tell the pairs; got "
                f"{self.image_pattern!r} and {self.label_pattern!r}"
            )

    @property
    def is_default(self) -> bool:
        """Whether images and labels lie in ``images`` and ``labels``."""
        return self.images is None and self.labels is None

    @property
    def image_pattern(self) -> str:
        """Pattern of the image files."""
        return self.images or f"{IMAGE_DIR}/*"

    @property
    def label_pattern(self) -> str:
        """Pattern of the label files."""
        return self.labels or f"{LABEL_DIR}/*{self.label_suffix}"


class FolderFiles(NamedTuple):
    """Files of a data folder.

    Attributes:
        images: the image files, sorted.
        labels: the label file of each image; None if it has none.
        issues: files without a partner or with several.
        folders: the folders of the images and of the labels.
    """

    images: list[Path]
    labels: list[Path | None]
    issues: list[Issue]
    folders: tuple[Path, Path]


class Match(NamedTuple):
    """A file that a pattern matches.

    Attributes:
        path: the file.
        parts: text in the place of each ``*``.
        folders: text in the place of each ``**``.
    """

    path: Path
    parts: tuple[str, ...]
    folders: tuple[str, ...] = ()


def find_folder_files(root: Path, layout: FolderLayout) -> FolderFiles:
    """Find the images and labels of a folder, and pair them.

    Raises:
        ValueError: no such folder, or no images in it; of given patterns, no labels either.
    """
    if layout.is_default:
        _check_folders(root)
    images, labels = find_files(root, layout.image_pattern), find_files(root, layout.label_pattern)
    if not images and layout.is_default:
        raise ValueError(f"a data folder must hold images; there is none in {root / IMAGE_DIR}")
    for name, pattern, found in (("images", layout.image_pattern, images), ("labels", layout.label_pattern, labels)):
        if not (found or layout.is_default):
            raise ValueError(
                f"the pattern of {name} must match files; {pattern!r} matches none in {root}: fix --{name}"
            )
    image_dir, label_dir = (root / _fixed_part(pattern) for pattern in (layout.image_pattern, layout.label_pattern))
    others = list_files(label_dir, IMAGE_SUFFIXES) if layout.is_default else []
    return FolderFiles(*pair_files(images, labels, others, layout), (image_dir, label_dir))


def _check_folders(root: Path) -> None:
    # os.path, as Path.is_dir raises OSError for a path that is too long.
    if os.path.isdir(root / IMAGE_DIR) and os.path.isdir(root / LABEL_DIR):
        return
    fix = ""
    if os.path.isdir(root):
        parts = [path for path in sorted(root.iterdir()) if (path / IMAGE_DIR).is_dir()]
        fix = f": pass {' or '.join(map(str, parts))}" if parts else ": pass --images and --labels for other names"
    raise ValueError(f"a data folder must hold the folders {IMAGE_DIR} and {LABEL_DIR}; {root} does not{fix}")


def find_files(root: Path, pattern: str) -> list[Match]:
    """Return the files that a pattern matches, sorted, without hidden ones; see :class:`FolderLayout`.

    Links to folders are not followed where ``**`` stands, as they may lead in circles.

    Raises:
        ValueError: a folder that cannot be read.
    """
    pattern = _normalized(pattern)
    fixed = _fixed_part(pattern)
    expression, is_star = _compile(pattern[len(fixed) :])
    depth = pattern[len(fixed) :].count("/") if all(is_star) else None
    found = {}
    for folder, inner in _folders(root / fixed, depth):
        for path in list_paths(folder):
            name = path.name
            if name[0] != "." and (match := expression.fullmatch(inner + name)):
                texts = match.groups()
                parts, folders = compress(texts, is_star), compress(texts, map(not_, is_star))
                found[inner + name] = Match(path, tuple(parts), tuple(folders))
    return [found[name] for name in sorted(found)]  # comparing paths is slow


def _folders(base: Path, depth: int | None) -> Iterator[tuple[Path, str]]:
    """Yield the folders that lie so deep in a folder, or all of them, and their paths in it: (Path("a/b"), "b/")."""
    waiting = [(base, "", 0)]
    while waiting:
        folder, inner, level = waiting.pop()
        if depth in (None, level):
            yield folder, inner
        if level == depth:
            continue
        try:
            with os.scandir(folder) as entries:
                found = [e.name for e in entries if e.name[0] != "." and e.is_dir(follow_symlinks=depth is not None)]
        except OSError as error:
            raise ValueError(f"a folder of data must be readable; {folder} is not: {error.strerror}") from None
        waiting += [(folder / name, f"{inner}{name}/", level + 1) for name in found]


def pair_files(
    images: Sequence[Match], labels: Sequence[Match], others: Sequence[Path], layout: FolderLayout
) -> tuple[list[Path], list[Path | None], list[Issue]]:
    """Pair images with labels: return the images, the label file of each or None, and the issues.

    Args:
        images: the images.
        labels: the labels.
        others: all files in the folder of the labels, where it is the default one, to tell what is wrong; else none.
        layout: the patterns.
    """
    image_keys, label_keys = _keys(images, labels)
    images_of, labels_of = _grouped(image_keys, images), _grouped(label_keys, labels)
    matched = {label.path for label in labels}
    by_stem = {path.stem: path for path in others if path not in matched}
    names = sorted(path.name for path in others)
    spare = next((label for label, key in zip(labels, label_keys) if key not in images_of), None)
    paired: list[Path | None] = []
    issues = []
    for image, key in zip(images, image_keys):
        twins, mine, stem = images_of[key], labels_of.get(key, []), image.path.stem
        if len(twins) > 1:
            other = twins[image == twins[0]].path
            message = f"has the same labels, {_fill(layout.label_pattern, image)}, as {other}: rename one"
            issues.append(Issue("stem", image.path, message))
        if mine:
            paired.append(mine[0].path)
            if len(mine) > 1:
                message = f"{image.path.name} has two label files, this one and {mine[0].path.name}: remove one"
                issues.append(Issue("twice", mine[1].path, message))
            continue
        paired.append(found := by_stem.get(stem))
        expected = _fill(layout.label_pattern, image)
        if layout.is_default:
            expected = Path(expected).name
        if found is None:
            hint = f"; there is {spare.path.name}, which has no image" if spare and not layout.is_default else ""
            if similar := _first_like(stem, names):
                hint = f" (there is {similar}: label_suffix {similar[len(stem) :]!r}?)"
            issues.append(Issue("unlabeled", image.path, f"has no labels {expected}{hint}"))
        elif found.suffix.lower() not in (".jpg", ".jpeg"):  # whose fault is not the suffix
            issues.append(Issue("suffix", found, f"must be called {expected}: rename it or pass --label-suffix"))
    if layout.is_default:
        used = set(paired)
        issues += [Issue("unpaired", path, "has no image", False) for path in others if path not in used]
    else:
        issues += [
            Issue("unpaired", label.path, f"has no image {_fill(layout.image_pattern, label)}")
            for label, key in zip(labels, label_keys)
            if key not in images_of
        ]
    return [image.path for image in images], paired, issues


def _keys(*groups: Sequence[Match]) -> list[list[tuple[str, ...]]]:
    """Return what tells pairs: the texts of ``*``, and those of ``**`` if these are not enough and both have them."""
    keys = [[match.parts for match in group] for group in groups]
    has_twins = any(len(set(own)) < len(own) for own in keys)
    if has_twins and len({len(match.folders) for group in groups for match in group[:1]}) == 1:
        keys = [[match.parts + match.folders for match in group] for group in groups]
    return keys


def _grouped(keys: Sequence[tuple[str, ...]], matches: Sequence[Match]) -> dict[tuple[str, ...], list[Match]]:
    groups = defaultdict(list)
    for key, match in zip(keys, matches):
        groups[key].append(match)
    return dict(groups)


def _first_like(stem: str, names: Sequence[str]) -> str:
    """Return the first of sorted names that begins with a stem: looking at all of them takes minutes for many files."""
    at = bisect_left(names, stem)
    return names[at] if at < len(names) and names[at].startswith(stem) else ""


def _normalized(pattern: str) -> str:
    return f"{pattern}/*" if pattern == "**" or pattern.endswith("/**") else pattern


def _fixed_part(pattern: str) -> str:
    """Return the folders in front of the first one with a ``*``: "a/b/*/c_*.png" -> "a/b/"."""
    return pattern[: pattern.partition("*")[0].rfind("/") + 1]


def _stars(pattern: str) -> int:
    """Return how many ``*`` tell the pairs."""
    return sum(_compile(_normalized(pattern))[1])


def _compile(pattern: str) -> tuple[re.Pattern[str], list[bool]]:
    """Return the regular expression of a pattern, and for each of its groups whether it is a ``*``."""
    body, suffix = pattern, ""
    if pattern.endswith((".*", "*")):
        body, suffix = pattern.removesuffix(".*"), _IMAGE_SUFFIX
    elif "*" not in (ending := os.path.splitext(pattern)[1]):
        body, suffix = pattern.removesuffix(ending), f"(?i:{re.escape(ending)})"
    tokens = _WILDCARD.split(body)
    parts = (r"((?:[^/]+/)*)" if token[-1] == "/" else "([^/]+)" for token in tokens[1::2])
    expression = re.escape(tokens[0]) + "".join(a + re.escape(b) for a, b in zip(parts, tokens[2::2]))
    return re.compile(expression + suffix, re.DOTALL), [token[-1] != "/" for token in tokens[1::2]]


def _fill(pattern: str, match: Match) -> str:
    """Return the name that a pattern gives for the partner of a file."""
    pattern, parts = _normalized(pattern), iter(match.parts)
    body = pattern.removesuffix(".*")
    name = _WILDCARD.sub(lambda found: found[0] if found[0][-1] == "/" else next(parts), body)
    return f"{name}.*" if pattern.endswith("*") else name
