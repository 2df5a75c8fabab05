"""What is told before Ray is asked."""

from __future__ import annotations

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.distributed.cluster import Cluster


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_listens_is_told_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match=r"no cluster answers there .*: start one with"):
        Cluster(address)
