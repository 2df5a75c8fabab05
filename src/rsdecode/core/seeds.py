"""Seeds that depend on what is drawn, never on what else runs."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A 64-bit seed from, say, (seed, problem id, sample, step, purpose)."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return int.from_bytes(digest.digest(), "little")
