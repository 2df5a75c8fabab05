"""API keys: from the environment only, so that no file, option or result ever holds one."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rsdecode.core.types import Role


def api_key(role: Role, environment: Mapping[str, str] | None = None) -> str | None:
    """The key of a role: `RSD_DRAFT_API_KEY` (`_TARGET_`, `_REWARD_`), else the key of all roles.

    That is `RSD_API_KEY` or, where there is none, `OPENAI_API_KEY`. A variable that is set to
    nothing means that no key is sent.
    """
    known = os.environ if environment is None else environment
    for name in (f"RSD_{role.name}_API_KEY", "RSD_API_KEY", "OPENAI_API_KEY"):
        if name in known:
            return known[name].strip() or None
    return None


def without_key(text: str, key: str | None) -> str:
    """`text` with the key struck out: servers quote the key that they refuse."""
    return text.replace(key, "[key]") if key else text
