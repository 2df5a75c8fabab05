"""Where a model is served: one or more base URLs, and its name there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from rsdecode.core.errors import ConfigError

FORM = "http://HOST:PORT/v1#NAME, or http://A/v1,http://B/v1#NAME for replicas"


@dataclass(frozen=True, slots=True)
class Address:
    """Replicas that serve one model under one name.

    Attributes:
        urls: base URLs, usually ending in /v1, without a slash at the end.
        name: what the servers call the model.
    """

    urls: tuple[str, ...]
    name: str

    def __str__(self) -> str:
        return f"{','.join(self.urls)}#{self.name}"


def parse_address(spec: str) -> Address:
    """Read `URL#NAME`, or `URL,URL#NAME` for replicas.

    Raises:
        ConfigError: a URL is not one, is named twice, or holds a password.
    """
    listed, _, name = spec.partition("#")
    urls = tuple(_base_url(url.strip()) for url in listed.split(","))
    if not name:
        raise ConfigError(f"{listed!r} does not name the served model: use {FORM}")
    if len(set(urls)) != len(urls):
        raise ConfigError(f"{spec!r} names a replica twice: name each once")
    return Address(urls, name)


def root_of(url: str) -> str:
    """The server's root, where vLLM's pooling and llama.cpp's own routes are."""
    return url.removesuffix("/v1")


def _base_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not a URL ({error}): use {FORM}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"the URL of {host} holds a password, which would end up in results: give the key in "
            "RSD_API_KEY instead"
        )
    if parts.scheme not in ("http", "https") or not host or parts.query:
        raise ConfigError(f"{url!r} is not the base URL of a server: use {FORM}")
    return url.rstrip("/")
