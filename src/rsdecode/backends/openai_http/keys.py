"""API keys: from the environment only, so that no file, option or result ever holds one.

A key is sent to the host that it is meant for, and nowhere else: the keys of rsdecode to the hosts
that the user names for the role, `OPENAI_API_KEY` to OpenAI or to the host of `OPENAI_BASE_URL`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from rsdecode.backends.openai_http.address import Address
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

OPENAI = "https://api.openai.com/v1"
ALLOW_HTTP = "RSD_ALLOW_HTTP_KEY"
"""Set to 1, keys also go over plain http to other machines."""
PORTS = {"http": 80, "https": 443}


def api_key(
    role: Role, address: Address, environment: Mapping[str, str] | None = None
) -> str | None:
    """The key that the servers of a role are sent.

    `RSD_DRAFT_API_KEY` (`_TARGET_`, `_REWARD_`), else `RSD_API_KEY`; where neither is set, and all
    servers are OpenAI's or at the host and port of `OPENAI_BASE_URL`, `OPENAI_API_KEY`. A variable
    that is set to nothing means that no key is sent.

    Raises:
        ConfigError: a key would go over plain http to another machine.
    """
    known = os.environ if environment is None else environment
    for name in (f"RSD_{role.name}_API_KEY", "RSD_API_KEY"):
        if name in known:
            key = known[name].strip() or None
            if key is not None and known.get(ALLOW_HTTP) != "1":
                _check_private(name, role, address)
            return key
    key = known.get("OPENAI_API_KEY", "").strip()
    meant = _origin(known.get("OPENAI_BASE_URL", "").strip() or OPENAI)
    to_it = all(_origin(url) == meant and _is_private(url) for url in address.urls)
    return key if key and to_it else None


def without_key(text: str, key: str | None) -> str:
    """`text` with the key struck out: servers quote the key that they refuse."""
    return text.replace(key, "[key]") if key else text


def _check_private(name: str, role: Role, address: Address) -> None:
    for url in address.urls:
        if not _is_private(url):
            raise ConfigError(
                f"{name} would be sent to {url} over plain http, where others can read it: use "
                f"https, set RSD_{role.name}_API_KEY to nothing to send none, or set "
                f"{ALLOW_HTTP}=1 on a network that you trust"
            )


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent: https, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return "", None, None
