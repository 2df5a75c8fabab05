"""What is told before Ray is asked."""

from __future__ import annotations

import io
import threading

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.distributed.cluster import Cluster, OursAlone


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_an_address_where_nobody_listens_is_told_at_once(address: str) -> None:
    with pytest.raises(ConfigError, match=r"no cluster answers there .*: start one with"):
        Cluster(address)


def test_standard_output_is_ours() -> None:
    written = io.StringIO()
    output = OursAlone(written)
    print("a result", file=output)  # type: ignore[call-overload]
    theirs = threading.Thread(
        target=lambda: print("(raylet) a worker died", file=output),  # type: ignore[call-overload]
        name="ray_listen_error_messages",
    )
    theirs.start()
    theirs.join()
    output.flush()
    assert written.getvalue() == "a result\n"
