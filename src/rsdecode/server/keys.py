"""API keys: who may ask, and how the logs call him."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rsdecode.core.errors import ConfigError

VARIABLE = "RSD_API_KEYS"
SHORTEST = 8


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by label; none where everybody may ask."""

    by_label: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.by_label)

    def __repr__(self) -> str:
        return f"Keys of {', '.join(self.by_label) or 'nobody'}"

    def label_of(self, key: str) -> str | None:
        """Whose key it is; takes as long for any key."""
        given, found = key.encode("utf-8", "replace"), None
        for label, known in self.by_label.items():
            if hmac.compare_digest(given, known.encode()):
                found = label
        return found


def load_keys(path: str | None, environment: Mapping[str, str] = os.environ) -> Keys:
    """Read the keys of a file and of the environment variable RSD_API_KEYS.

    A file holds a label and a key a line, `alice KEY`; the variable `alice:KEY,bob:KEY`. A key
    without a label is called by its place: `key1`.

    Raises:
        ConfigError: the file cannot be read, a key is too short, or a label comes twice.
    """
    entries: list[tuple[str, str]] = []
    for entry in environment.get(VARIABLE, "").split(","):
        if entry.strip():
            label, colon, key = entry.strip().partition(":")
            entries.append((label, key) if colon else ("", label))
    if path is not None:
        entries += _read(Path(path).expanduser())
    keys: dict[str, str] = {}
    for number, (label, key) in enumerate(entries, 1):
        name = label.strip() or f"key{number}"
        if len(key.strip()) < SHORTEST:
            where = f"--keys {path}, or {VARIABLE}" if path is not None else VARIABLE
            raise ConfigError(
                f"{where}: the key of {name!r} is shorter than {SHORTEST} characters: take a "
                "longer one"
            )
        if name in keys:
            raise ConfigError(f"there are two keys of {name!r}: give them different labels")
        keys[name] = key.strip()
    if path is not None and not keys:
        raise ConfigError(f"--keys {path}: there is no key in it")
    return Keys(keys)


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"--keys {path}: cannot be read: {reason}") from None
    entries: list[tuple[str, str]] = []
    for line in lines:
        words = line.split()
        if words and not words[0].startswith("#"):
            entries.append((words[0], words[1]) if len(words) > 1 else ("", words[0]))
    return entries
