"""A real server with a reasoning parser: steps, streams, cancellation and salts.

The checkpoint is the embedded target with two tokens for thoughts that it never writes, so that the
parser takes all of its text for thoughts: what a thinking model looks like before it answers.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.cli.examination import examine
from rsdecode.config import load_config
from rsdecode.config.build import build_models
from rsdecode.core.requests import Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, Message, Role, Usage
from rsdecode.methods import Single
from rsdecode.models.abacus import model_path, problems
from rsdecode.text.pretrained import load_tokenizer

pytestmark = pytest.mark.integration
ARGUMENTS = ["--reasoning-parser", "deepseek_r1"]
GENERATED = r"^vllm:generation_tokens_total\S* (\S+)$"
RUNNING = r"^vllm:num_requests_running\S* (\S+)$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copied = tmp_path_factory.mktemp("thinking") / "model"
    shutil.copytree(model_path("target"), copied)
    place = copied / "tokenizer.json"
    tokenizer = json.loads(place.read_text())
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for id, mark in enumerate(("<think>", "</think>"), first):
        tokenizer["added_tokens"].append({"id": id, "content": mark, "special": False, **plain})
    place.write_text(json.dumps(tokenizer))
    return copied


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    overrides: dict[str, Any] = {
        "method": "target",
        "target": f"vllm:{folder}",
        "engine.dtype": "float32",
        "prompt.system": None,
        "vllm.target.arguments": ARGUMENTS,
    }
    models = build_models(load_config(overrides=overrides), [Single(Role.TARGET)])
    told: Any = models.target
    [address] = re.findall(r"http://\S+/v1", told.describe()["servers"])
    yield address
    models.close()


def served(url: str, folder: Path | None = None) -> ServedModel:
    tokenizer = None if folder is None else load_tokenizer(str(folder))
    return ServedModel(Transport(Address((url,), "target"), HttpSettings()), tokenizer=tokenizer)


def ask(question: str, boundary: Boundary, *, temperature: float = 0.0) -> Generate:
    context = Context((Message("user", question),))
    return Generate(Role.TARGET, context, 60, boundary, Sampling(temperature), seed=3)


def requests(temperature: float) -> list[Generate]:
    return [
        ask(problem.question, boundary, temperature=temperature)
        for problem in problems("test", limit=8)
        for boundary in (PARAGRAPH, WHOLE_ANSWER, Boundary(tokens=7))
    ]


def paid(usage: Usage) -> Usage:
    """What does not depend on the cache and the clock."""
    read = usage.prefill_tokens + usage.cached_tokens
    return replace(usage, prefill_tokens=read, cached_tokens=0, attended_tokens=0, seconds=0.0)


def metric(url: str, pattern: str) -> float:
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics", timeout=30) as reply:
        return sum(float(value) for value in re.findall(pattern, reply.read().decode(), re.M))


async def written(model: ServedModel, asked: list[Generate]) -> list[Generated]:
    replies = await model.generate(asked)
    assert all(isinstance(reply, Generated) for reply in replies), replies
    return [reply for reply in replies if isinstance(reply, Generated)]


async def test_the_parser_takes_the_text_out_of_the_chat_route(url: str) -> None:
    """The case itself: the stop string fires in the thoughts, and there is no content."""
    [problem] = problems("test", limit=1)
    messages = [{"role": "user", "content": problem.question}]
    body = {"model": "target", "messages": messages, "max_tokens": 60, "stop": ["\n\n"]}
    request = urllib.request.Request(
        f"{url}/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        [choice] = json.load(reply)["choices"]
    assert choice["stop_reason"] == "\n\n"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning"]


async def test_steps_hold_the_thoughts_and_are_continued(url: str, folder: Path) -> None:
    """Without a tokenizer on our side as with one."""
    by_text, by_ids = served(url), served(url, folder)
    for request in requests(0.0)[::3]:
        texts: list[str] = []
        for model in (by_text, by_ids):
            context = request.context
            for _ in range(3):
                [step] = await written(model, [replace(request, context=context)])
                context = context.followed_by(step.segment)
            texts.append("".join(segment.text for segment in context.answer))
        assert texts[0] == texts[1]
        assert texts[0].strip()
    for model in (by_text, by_ids):
        model.close()


@pytest.mark.parametrize("by_ids", [False, True], ids=["by-text", "by-ids"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
async def test_streamed_replies_are_the_same(
    url: str, folder: Path, by_ids: bool, temperature: float
) -> None:
    model = served(url, folder if by_ids else None)
    shown: defaultdict[int, str] = defaultdict(str)
    expected = await written(model, requests(temperature))

    def show(place: int, text: str) -> None:
        shown[place] += text

    found = await model.stream(requests(temperature), show)
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert isinstance(mine, Generated), mine
        assert mine.segment == theirs.segment
        assert mine.finish_reason == theirs.finish_reason
        assert paid(mine.usage) == paid(theirs.usage)
        assert shown[place].startswith(mine.segment.text)
    model.close()


@pytest.mark.parametrize("shown", [True, False], ids=["streamed", "not-shown"])
async def test_cancelling_stops_the_server(url: str, shown: bool) -> None:
    model = served(url)
    asked = [
        replace(ask(f"Tell of {i}.", WHOLE_ANSWER, temperature=1.8), max_tokens=800, seed=i)
        for i in range(24)
    ]
    await model.generate([replace(asked[0], max_tokens=2)])
    before = await asyncio.to_thread(metric, url, GENERATED)
    asking = model.stream(asked, lambda *_: None) if shown else model.generate(asked)
    task = asyncio.ensure_future(asking)
    deadline = time.perf_counter() + 30
    while await asyncio.to_thread(metric, url, GENERATED) < before + 50:
        assert not task.done(), task.result()[:1]
        assert time.perf_counter() < deadline
        await asyncio.sleep(0.005)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert await asyncio.to_thread(metric, url, RUNNING) == 0
    counted = await asyncio.to_thread(metric, url, GENERATED)
    await asyncio.sleep(0.3)
    assert await asyncio.to_thread(metric, url, GENERATED) == counted
    model.close()


async def test_a_new_salt_forgets_what_was_read(url: str) -> None:
    model = served(url)
    question = " ".join(problem.question for problem in problems("test", limit=4))
    request = ask(question, PARAGRAPH)
    cached: list[int] = []
    for again in (False, False, True, False):
        if again:
            model.clear()
        [reply] = await written(model, [request])
        cached.append(reply.usage.cached_tokens)
    first, second, cleared, last = cached
    assert first == cleared == 0
    assert second == last > 0
    assert model.notes == ()
    model.close()


@pytest.fixture
def gateway(url: str) -> Iterator[str]:
    """A proxy that lets `/v1/` through and nothing else, as in front of many servers."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.forward(None)

        def do_POST(self) -> None:
            self.forward(self.rfile.read(int(self.headers["content-length"])))

        def forward(self, body: bytes | None) -> None:
            if not self.path.startswith("/v1/"):
                self.send_error(404)
                return
            place = url.removesuffix("/v1") + self.path
            request = urllib.request.Request(place, body, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    status, told = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                status, told = error.code, error.read()
            self.send_response(status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_doctor_finds_thoughts_that_are_kept_apart(gateway: str, folder: Path) -> None:
    """Behind the proxy there is the chat route alone; the tokenizer shows another way."""
    overrides: dict[str, Any] = {
        "method": "target",
        "target": f"{gateway}#target",
        "prompt.system": None,
        "limits.max_tokens": 1024,
    }
    [failure] = examine(load_config(overrides=overrides)).failures
    assert "separates thoughts from the text" in failure
    assert "--target-tokenizer" in failure
    named = load_config(overrides=overrides | {"target_tokenizer": str(folder)})
    findings = examine(named)
    assert findings.failures == []
    assert findings.roles["target"]["trial"].startswith("wrote ")
