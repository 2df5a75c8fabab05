from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import Start

DOCUMENT = {"format": "rsdecode.trajectory/1", "question": "?", "runs": []}


async def test_a_trajectory_is_kept_and_given_out(start: Start, tmp_path: Path) -> None:
    client = (await start(storage=str(tmp_path / "kept"))).client
    first = (await client.post("/rsd/trajectories", json=DOCUMENT)).json()["id"]
    assert (await client.post("/rsd/trajectories", json=DOCUMENT)).json()["id"] == first
    assert (await client.get(f"/rsd/trajectories/{first}")).json() == DOCUMENT
    assert (await client.get("/rsd/info")).json()["storage"] is True
    assert len(list((tmp_path / "kept").iterdir())) == 1


@pytest.mark.parametrize("name", ["0" * 32, "..%2f..%2fsecret", "%00", "a"])
async def test_nothing_else_is_given_out(start: Start, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.json").write_text("{}")
    client = (await start(storage=str(tmp_path / "a/b"))).client
    assert (await client.get(f"/rsd/trajectories/{name}")).status_code == 404


async def test_nothing_is_kept_without_storage_nor_what_is_no_trajectory(
    start: Start, tmp_path: Path
) -> None:
    client = (await start()).client
    assert (await client.post("/rsd/trajectories", json=DOCUMENT)).status_code == 404
    client = (await start(storage=str(tmp_path))).client
    assert (await client.post("/rsd/trajectories", json={"a": 1})).status_code == 400
    assert not list(tmp_path.iterdir())
