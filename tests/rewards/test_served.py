"""Reward models over HTTP: the same rewards as in this process, and clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, Transport
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.core.cost import attended_tokens
from rsdecode.core.errors import ConfigError, ContextFull, RequestError
from rsdecode.core.requests import Failed, Scored
from rsdecode.rewards import load_reward_model
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import Marked
from rsdecode.rewards.served import Form, form_of, load_served_reward, rows_of_marks
from tests.backends.openai_http.local_server import LocalServer, Reply
from tests.backends.openai_http.model_server import NAME, generative_scoring, pooling
from tests.rewards import tiny

Save = Callable[[Path], tuple[Any, ...]]
MODELS: dict[str, tuple[Save, str | None]] = {
    "value head, a row for each token": (tiny.save_value_head, None),
    "value head, a row for each mark": (tiny.save_value_head, "\n"),
    "qwen-prm, a row for each mark": (tiny.save_qwen_prm, "<extra_0>"),
    "token classifier": (lambda f: tiny.save_classifier(f, "token", num_labels=2), None),
    "outcome, one label": (lambda f: tiny.save_classifier(f, "sequence", num_labels=1), None),
    "outcome, two labels": (lambda f: tiny.save_classifier(f, "sequence", num_labels=2), None),
}


def transport(server: LocalServer, attempts: int = 1) -> Transport:
    settings = HttpSettings(attempts=attempts, backoff_s=0.001)
    return Transport(Address((server.url,), NAME), settings)


@pytest.mark.parametrize("name", MODELS)
async def test_the_same_rewards_shape_and_tokens_as_in_process(name: str, tmp_path: Path) -> None:
    save, step_tag = MODELS[name]
    folder = str(save(tmp_path)[0])
    local = load_reward_model(folder, tiny.OPTIONS)
    expected = await local.score(tiny.PROBLEMS)
    async with LocalServer(pooling(local, step_tag)) as server:
        served = load_served_reward(transport(server), folder)
        replies = await served.score(tiny.PROBLEMS)
    local.close()
    assert tiny.rewards(replies) == [
        pytest.approx(listed, abs=1e-5) for listed in tiny.rewards(expected)
    ]
    for ours, theirs in zip(replies, expected, strict=True):
        assert isinstance(ours, Scored)
        assert isinstance(theirs, Scored)
        read = theirs.usage.prefill_tokens + theirs.usage.cached_tokens
        assert ours.usage.prefill_tokens == read
        assert ours.usage.calls == theirs.usage.calls
    assert served.shape == local.shape
    assert served.describe()["step mark"] == local.describe()["step mark"]


async def one_by_one(scorer: PrefixScorer) -> list[Any]:
    return [reply for problem in tiny.PROBLEMS for reply in await scorer.score([problem])]


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("outcome")])
async def test_a_server_that_continues_cached_prefixes(name: str, tmp_path: Path) -> None:
    save, _ = MODELS[name]
    folder = str(save(tmp_path)[0])
    local = load_reward_model(folder, tiny.OPTIONS)
    expected = tiny.rewards(await one_by_one(local))
    async with LocalServer(pooling(local, block=4)) as server:
        served = load_served_reward(transport(server), folder)
        first = await one_by_one(served)
        asked = len(server.requests)
        second = await one_by_one(served)
    local.close()
    for replies in (first, second):
        assert tiny.rewards(replies) == [pytest.approx(listed, abs=1e-5) for listed in expected]

    lengths = [reply.usage.prefill_tokens + reply.usage.cached_tokens for reply in second]
    assert first[0].usage.cached_tokens == 0, "before it is known what the rows stand for"
    for reply, length, requests in zip(second, lengths, tiny.PROBLEMS, strict=True):
        usage = reply.usage
        assert usage.cached_tokens > 0
        if usage.calls == 1:
            assert usage.prefill_tokens <= 4
            cached = length - usage.prefill_tokens
            assert usage.attended_tokens == attended_tokens(cached, usage.prefill_tokens)
        else:  # a mark of theirs was cached, so they were read again in full
            assert len(requests.steps) > 1
            assert usage.prefill_tokens > usage.cached_tokens
    assert any(reply.usage.calls > 1 for reply in second)
    salts = ["cache_salt" in body for _, body in server.requests]
    assert salts.count(True) == 1 + sum(reply.usage.calls - 1 for reply in (*first, *second))
    assert asked < len(server.requests)


def test_what_rows_stand_for() -> None:
    job = Marked("s", (9, 1, 9, 2, 9, 3, 9), (4, 6))
    every = [[float(i)] for i in range(7)]
    assert form_of(job, every) is Form.TOKENS
    tagged = [[0.0], [2.0], [4.0], [6.0]]
    assert form_of(job, tagged) is Form.MARKS
    assert rows_of_marks(job, tagged) == [[4.0], [6.0]], "of the mark elsewhere are passed over"
    with pytest.raises(Fault, match=r'3 rows for 7 tokens, 4 .*"step_tag_id": 9'):
        form_of(job, every[:3])


@pytest.mark.parametrize(
    "data", [None, [], [{"data": 3}], [{"data": [["a", "b"]]}], [{"data": [[0.5]]}]]
)
async def test_replies_of_another_form(data: Any, tmp_path: Path) -> None:
    async def odd(path: str, body: dict[str, Any]) -> Reply:
        return Reply(200, {"data": data, "usage": {"prompt_tokens": 1}})

    folder = str(tiny.save_qwen_prm(tmp_path)[0])
    async with LocalServer(odd) as server:
        served = load_served_reward(transport(server, attempts=2), folder)
        [reply] = await served.score(tiny.PROBLEMS[:1])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, RequestError)
    assert "2 tries" in str(reply.error)
    assert len(server.requests) == 2


async def test_a_prefix_too_long_for_the_server(tmp_path: Path) -> None:
    async def full(path: str, body: dict[str, Any]) -> Reply:
        return Reply(400, {"error": {"message": "maximum context length is 8 tokens"}})

    folder = str(tiny.save_value_head(tmp_path)[0])
    async with LocalServer(full) as server:
        [reply] = await load_served_reward(transport(server), folder).score(tiny.PROBLEMS[:1])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, ContextFull)


@pytest.mark.parametrize("kind", ["plus-minus", "plus-minus-chat", "plus-minus-raw"])
async def test_signs_are_read_as_in_process(kind: str, tmp_path: Path) -> None:
    folder = str(tiny.save_causal(tmp_path)[0])
    local = load_reward_model(folder, tiny.OPTIONS, kind)
    expected = await local.score(tiny.PROBLEMS)
    async with LocalServer(generative_scoring(local)) as server:
        served = load_served_reward(transport(server), folder, kind)
        replies = await served.score(tiny.PROBLEMS)
    local.close()
    for ours, theirs in zip(replies, expected, strict=True):
        assert isinstance(ours, Scored)
        assert isinstance(theirs, Scored)
        assert ours.rewards == pytest.approx(theirs.rewards, abs=1e-5)
        assert ours.usage.decoded_tokens == len(ours.rewards)
    told, other = served.describe(), local.describe()
    assert [told[key] for key in ("step mark", "good sign", "bad sign")] == [
        other[key] for key in ("step mark", "good sign", "bad sign")
    ]
    assert served.shape == local.shape


async def test_a_server_that_cuts_what_is_too_long(tmp_path: Path) -> None:
    """vLLM 0.32 reads as much of a prompt as fits, and gives a score of it."""
    folder = str(tiny.save_causal(tmp_path)[0])
    local = load_reward_model(folder, tiny.OPTIONS, "plus-minus")
    async with LocalServer(generative_scoring(local, most=30)) as server:
        served = load_served_reward(transport(server), folder, "plus-minus")
        long, short = await served.score([tiny.PROBLEMS[3], tiny.PROBLEMS[2]])
    local.close()
    assert isinstance(long, Failed)
    assert isinstance(long.error, ContextFull)
    assert "has read 30 of" in str(long.error)
    assert isinstance(short, Scored)


async def test_a_server_without_the_route_for_signs(tmp_path: Path) -> None:
    async def absent(path: str, body: dict[str, Any]) -> Reply:
        return Reply(404, {"detail": "Not Found"})

    folder = str(tiny.save_causal(tmp_path)[0])
    async with LocalServer(absent) as server:
        served = load_served_reward(transport(server), folder, "plus-minus-raw")
        [reply] = await served.score(tiny.PROBLEMS[:1])
    assert isinstance(reply, Failed)
    assert "/generative_scoring" in str(reply.error)


def test_kinds_that_no_server_reads(tmp_path: Path) -> None:
    folder = str(tiny.save_reward_head(tmp_path)[0])
    unused = Transport(Address(("http://h/v1",), NAME), HttpSettings())
    with pytest.raises(ConfigError, match=r"reward-head reward model is computed here.*hf:"):
        load_served_reward(unused, folder, "reward-head")
