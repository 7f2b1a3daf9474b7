"""Read YAML files that may come from anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Bytes of a file, and values in it.
MAX_BYTES, MAX_VALUES = 1 << 20, 100_000


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file; unlike YAML's own reader, refuse keys that occur twice.

    Raises:
        ValueError: not YAML, too large, or a repeated key.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"keys must be unique; {repeated[0]!r} occurs twice: remove one")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct_mapping)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it must have at most {MAX_BYTES} bytes; it has {path.stat().st_size}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it must be YAML: {' '.join(str(error).split())}") from None
    _check_count(content, [0])
    return content


def _check_count(value: Any, count: list[int]) -> None:
    """Refuse a tree that aliases, which repeat a part of it, make too large to walk."""
    count[0] += 1
    if count[0] > MAX_VALUES:
        raise ValueError(f"it must hold at most {MAX_VALUES} values")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_count(item, count)
