from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import rsdecode
from rsdecode.backends.vllm_server import Fleet, Gpu, process
from rsdecode.backends.vllm_server.server import Server, State
from rsdecode.core.errors import ModelLoadError

from .conftest import Behave, Notebook, alive, ask, eventually, gone, needs_proc, plans

pytestmark = needs_proc


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


@pytest.fixture
def server(vllm: str, tmp_path: Path, notebook: Notebook) -> Iterator[Server]:
    [plan] = plans("draft")
    started = Server(plan, vllm, tmp_path / "draft.log", notebook)
    yield started
    started.close()


def start(server: Server) -> list[int]:
    """Start it; the process ids of vLLM and its helper."""
    server.start()
    eventually(lambda: server.state is not State.STARTING)
    assert server.state is State.READY, server.error
    return ask(server.url, "/stats")["pids"]


def test_a_server_starts_and_leaves_nothing(server: Server) -> None:
    pids = start(server)
    assert all(map(alive, pids))
    server.close()
    assert not any(map(alive, pids))
    assert server.state is State.CLOSED
    server.close()


def test_it_is_asked_for_what_was_planned(server: Server) -> None:
    start(server)
    stats = ask(server.url, "/stats")
    assert stats["argv"][:2] == ["serve", "models/draft"]
    assert stats["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert server.log.read_text().startswith("loading models/draft")


def test_a_deaf_server_is_killed(
    server: Server, behave: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.4)
    behave(draft={"deaf": True})
    pids = start(server)
    began = time.monotonic()
    server.close()
    assert not any(map(alive, pids))
    assert time.monotonic() - began > 0.4


def test_a_start_that_fails_says_why(server: Server, behave: Behave, notebook: Notebook) -> None:
    refusal = "WARNING: as in OSError: too many\nValueError: no such model\n" + "\n".join(
        f"line {i}" for i in range(20)
    )
    behave(draft={"refuse": refusal})
    server.start()
    eventually(lambda: server.state is State.FAILED)
    message = str(server.error)
    assert message.startswith("the vLLM server of draft (models/draft) ended with exit code 1")
    assert "ValueError: no such model | ... | line 14" in message
    assert message.endswith("line 19")
    assert str(server.log) in message
    assert not notebook.warnings  # it is not tried again


def test_an_unknown_architecture_names_the_plugin(server: Server, behave: Behave) -> None:
    behave(draft={"refuse": "Model architectures ['Qwen2ForCausalLM'] are not supported"})
    server.start()
    eventually(lambda: server.state is State.FAILED)
    assert "rsdecode teaches it to vLLM" in str(server.error)


def test_another_port_is_tried(server: Server, behave: Behave, tmp_path: Path) -> None:
    taken = {"refuse": "OSError: [Errno 98] Address already in use"}
    behave(draft=taken | {"once": str(tmp_path / "seen")})
    before = server.url
    start(server)
    assert server.url != before


def test_a_start_that_takes_too_long_is_given_up(
    vllm: str, behave: Behave, tmp_path: Path, notebook: Notebook
) -> None:
    behave(draft={"start_s": 60})
    [plan] = plans("draft")
    server = Server(plan, vllm, tmp_path / "draft.log", notebook, ready_timeout_s=0.5)
    server.start()
    eventually(lambda: server.state is State.FAILED)
    assert "not ready after 0 s" in str(server.error)
    server.close()


def test_a_program_that_is_none(tmp_path: Path, notebook: Notebook) -> None:
    [plan] = plans("draft")
    server = Server(plan, str(tmp_path / "nothing"), tmp_path / "log", notebook)
    server.start()
    eventually(lambda: server.state is State.FAILED)
    assert "before it began (No such file or directory)" in str(server.error)
    server.close()


async def test_a_crash_is_reported_and_repaired_once(server: Server, notebook: Notebook) -> None:
    first = start(server)
    url = server.url
    assert not await server.came_back(epoch=0)  # it never went
    os.kill(first[0], signal.SIGKILL)
    assert await server.came_back(epoch=0)
    [warning] = notebook.warnings
    assert "ended by SIGKILL" in warning
    assert "starting it once more" in warning
    assert server.url == url
    assert gone(first)  # the helper went with it
    second = ask(url, "/stats")["pids"]
    with pytest.raises(OSError):  # noqa: PT011 - reset or closed
        ask(url, "/die")
    assert not await server.came_back(epoch=1)
    assert server.state is State.FAILED
    assert "ended with exit code 3" in str(server.error)
    assert "ValueError: told to die" in str(server.error)
    assert gone(second)


def test_a_killed_supervisor_takes_vllm_with_it(server: Server) -> None:
    first = start(server)
    supervisor = int(Path(f"/proc/{first[0]}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    assert gone(first)
    eventually(lambda: server.epoch == 1 and server.state is State.READY)


HOLDER = """
import sys, time
sys.path[:0] = {path!r}
from pathlib import Path
from rsdecode.backends.vllm_server import Fleet
from tests.backends.vllm_server.conftest import Notebook, ask, plans
fleet = Fleet(plans("draft", "target"), {vllm!r}, Notebook(), logs=Path({logs!r}))
fleet.start()
if {fork}:
    import os
    if not (child := os.fork()):
        time.sleep(600)
    print(child, flush=True)
print(*[pid for n in ("draft", "target") for pid in ask(fleet.server(n).url, "/stats")["pids"]])
sys.stdout.flush()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("number", "fork"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGKILL, False),
        (signal.SIGKILL, True),
    ],
)
def test_nothing_outlives_us(vllm: str, tmp_path: Path, number: int, fork: bool) -> None:
    """However we end, and even if a process that was forked off us lives on with our pipes."""
    root = str(Path(__file__).parents[3])
    path = [root, str(Path(rsdecode.__file__).parents[1])]
    source = HOLDER.format(path=path, vllm=vllm, logs=str(tmp_path), fork=fork)
    holder = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline()) if fork else None
    pids = [int(pid) for pid in holder.stdout.readline().split()]
    assert len(pids) == 4
    assert all(map(alive, pids))
    holder.send_signal(number)
    holder.wait(10)
    assert gone(pids)
    if child is not None:
        assert alive(child)
        os.kill(child, signal.SIGKILL)


def test_a_fleet_starts_in_turn_and_cleans_up(
    vllm: str, behave: Behave, notebook: Notebook
) -> None:
    behave(draft={"start_s": 0.5}, target={"start_s": 0.5})
    fleet = Fleet(plans("draft", "target"), vllm, notebook)
    logs = fleet.server("draft").log.parent
    fleet.start()
    ups = [note.partition(":")[0] for note in notebook.notes if "vLLM is up at" in note]
    assert ups == ["draft", "target"]
    assert not any(" · " in status for status in notebook.statuses)  # one after the other
    assert any("loading models/target" in status for status in notebook.statuses)
    pids = [pid for n in ups for pid in ask(fleet.server(n).url, "/stats")["pids"]]
    fleet.close()
    assert not any(map(alive, pids))
    assert not logs.exists()


def test_servers_on_different_gpus_start_together(
    vllm: str, behave: Behave, notebook: Notebook, tmp_path: Path
) -> None:
    behave(draft={"start_s": 0.5}, target={"start_s": 0.5})
    separate = [
        replace(plan, gpus=(Gpu(str(i), 2**36),)) for i, plan in enumerate(plans("draft", "target"))
    ]
    fleet = Fleet(separate, vllm, notebook, logs=tmp_path / "logs")
    fleet.start()
    assert any(" · " in status for status in notebook.statuses)
    found = [
        ask(fleet.server(n).url, "/stats")["environment"]["CUDA_VISIBLE_DEVICES"]
        for n in ("draft", "target")
    ]
    fleet.close()
    assert found == ["0", "1"]
    assert (tmp_path / "logs" / "draft.log").exists()


def test_one_that_fails_stops_the_others(vllm: str, behave: Behave, notebook: Notebook) -> None:
    behave(target={"refuse": "RuntimeError: out of luck"})
    fleet = Fleet(plans("draft", "target"), vllm, notebook)
    with pytest.raises(ModelLoadError, match="out of luck"):
        fleet.start()
    assert fleet.server("draft").state is State.CLOSED
    assert fleet.server("target").log.exists()
