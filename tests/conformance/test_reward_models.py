"""What every reward model must do, whatever it is made of."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, Transport
from rsdecode.backends.transformers.model import load_model
from rsdecode.core.errors import RsdError
from rsdecode.core.protocols import Closeable, RewardModel, Sized
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.rewards import ArithmeticReward, FunctionReward, JudgeReward, load_reward_model
from rsdecode.rewards.gates import AgreementReward, CascadeReward, LikelihoodReward
from rsdecode.rewards.served import load_served_reward
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.model_server import NAME, pooling
from tests.rewards import tiny


def network(save: Callable[[Path], Any], kind: str | None = None) -> Callable[[Path], Any]:
    return lambda folder: load_reward_model(str(save(folder)[0]), tiny.OPTIONS, kind)


def classifier(task: str, labels: int) -> Callable[[Path], Any]:
    return network(lambda folder: tiny.save_classifier(folder, task, num_labels=labels))


def causal(folder: Path) -> Any:
    return load_model(str(tiny.save_causal(folder)[0]), tiny.OPTIONS)


def cascade(folder: Path) -> CascadeReward:
    model = causal(folder)
    return CascadeReward(AgreementReward(model), LikelihoodReward(model), 0.01, 0.99)


def judge(folder: Path) -> JudgeReward:
    return JudgeReward(causal(folder))


def judge_on_llama_cpp(folder: Path) -> JudgeReward:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
    from tests.backends.llama_cpp import tiny_gguf

    path = tiny_gguf.write(folder / "judge.gguf", context=3072)
    options = LlamaCppOptions(slots=4, max_context=3072, threads=1)
    return JudgeReward(load_llama_cpp(path, options))


def served(
    load: Callable[[Path], Any], step_tag: str | None = None, *, block: int = 0
) -> Callable[[Path], Any]:
    """The same model behind a server, which runs in a thread of its own."""

    def make(folder: Path) -> Any:
        server = LocalServer(pooling(load(folder), step_tag, block=block))
        loop = asyncio.new_event_loop()
        Thread(target=loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        transport = Transport(Address((server.url,), NAME), HttpSettings())
        return load_served_reward(transport, str(folder))

    return make


def function(grade: Callable[..., Any]) -> Callable[[Path], FunctionReward]:
    def make(_: Path) -> FunctionReward:
        module = ModuleType("conformance_rewards")
        module.grade = grade
        sys.modules["conformance_rewards"] = module
        try:
            return FunctionReward("conformance_rewards:grade")
        finally:
            del sys.modules["conformance_rewards"]

    return make


def by_length(question: str, steps: list[str]) -> float:
    return len(question + "".join(steps)) % 97 / 97


async def by_length_later(question: str, steps: list[str]) -> float:
    await asyncio.sleep(0)
    return by_length(question, steps)


MODELS: dict[str, Callable[[Path], Any]] = {
    "value-head": network(tiny.save_value_head),
    "qwen-prm": network(tiny.save_qwen_prm),
    "token-classifier": classifier("token", 2),
    "plus-minus": network(tiny.save_causal, "plus-minus"),
    "plus-minus-raw": network(tiny.save_causal, "plus-minus-raw"),
    "plus-minus-chat": network(tiny.save_causal, "plus-minus-chat"),
    "outcome, one label": classifier("sequence", 1),
    "outcome, two labels": classifier("sequence", 2),
    "qwen-prm, served": served(network(tiny.save_qwen_prm), "<extra_0>"),
    "value-head, served with a prefix cache": served(network(tiny.save_value_head), block=4),
    "outcome, served": served(classifier("sequence", 2)),
    "judge": judge,
    "likelihood": lambda folder: LikelihoodReward(causal(folder)),
    "agreement": lambda folder: AgreementReward(causal(folder)),
    "cascade": cascade,
    "judge, on llama.cpp": judge_on_llama_cpp,
    "arithmetic": lambda _: ArithmeticReward(),
    "function": function(by_length),
    "async function": function(by_length_later),
}
ASKED = [
    tiny.request(
        f"Question {i}: what is {i} + 1?" + " It is long." * (i % 4),
        [f"{i} + {j} = {i + j + (j == 2)}.\n\n" for j in range(i % 5)],
        [f"So {i} + 1 = {i + 1 + (i + k) % 2}.\n\n" for k in range(1 + i % 3)],
        f"session {i % 6}",
    )
    for i in range(14)
]


@pytest.fixture(scope="module", params=MODELS)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("model")
    return lambda: MODELS[request.param](folder)


@pytest.fixture
def model(make):
    made = make()
    yield made
    made.close()


def served(replies: list[Scored | Failed]) -> list[tuple[float, ...]]:
    return [reply.rewards for reply in replies if isinstance(reply, Scored)]


async def one_by_one(model: RewardModel, asked: list[Score]) -> list[tuple[float, ...]]:
    return [rewards for score in asked for rewards in served(await model.score([score]))]


def close_to(listed: list[tuple[float, ...]]) -> list[Any]:
    return [pytest.approx(rewards, abs=1e-4) for rewards in listed]


async def test_replies_have_the_length_and_order_of_the_requests(model):
    replies = await model.score(ASKED)
    assert [len(r) for r in served(replies)] == [len(score.steps) for score in ASKED]
    backwards = await model.score(ASKED[::-1])
    assert served(backwards[::-1]) == close_to(served(replies))
    assert served(replies) == close_to(await one_by_one(model, ASKED))
    assert len(set(served(replies))) > 1, "the test could not tell replies apart"
    assert await model.score([]) == []


async def test_rewards_are_finite_and_in_the_unit_interval(model):
    rewards = [reward for listed in served(await model.score(ASKED)) for reward in listed]
    assert all(isinstance(reward, float) for reward in rewards)
    assert all(math.isfinite(reward) and 0.0 <= reward <= 1.0 for reward in rewards)


async def test_many_calls_at_once_equal_one_after_the_other(model):
    at_once = await asyncio.gather(*(model.score([score]) for score in ASKED * 2))
    expected = await one_by_one(model, ASKED)
    assert [rewards for replies in at_once for rewards in served(replies)] == close_to(expected * 2)


async def test_a_request_without_steps_fails_and_the_others_are_served(model):
    asked = [ASKED[0], tiny.request("What?", ["One."], []), ASKED[1]]
    replies = await model.score(asked)
    assert [isinstance(reply, Failed) for reply in replies] == [False, True, False]
    assert isinstance(replies[1].error, RsdError)
    assert "step" in str(replies[1].error)


@pytest.mark.parametrize("text", ["", " \n\n", "\x00\ud7ff🙂", "<|im_end|><extra_0>ки", "=" * 80])
async def test_any_text_is_served(model, text):
    [reply] = await model.score([tiny.request(text, [text], [text])])
    assert isinstance(reply, Scored)
    assert len(reply.rewards) == 1


async def test_text_that_is_not_unicode_harms_nobody_else(model):
    broken = tiny.request("What?", ["One.\n\n"], ["\ud800"])
    [first, _, third] = await model.score([ASKED[0], broken, ASKED[1]])
    assert isinstance(first, Scored)
    assert isinstance(third, Scored)


async def test_steps_of_one_request_equal_steps_asked_one_by_one(model):
    steps = ["2 + 2 = 4.\n\n", "4 + 1 = 6.\n\n", "Done.\n\n"]
    [together] = served(await model.score([tiny.request("How many?", [], steps)]))
    singles = [tiny.request("How many?", steps[:i], steps[i : i + 1]) for i in range(len(steps))]
    assert [rewards[0] for rewards in served(await model.score(singles))] == pytest.approx(
        together, abs=1e-4
    )


async def test_usage_counts_calls_and_the_tokens_of_models_with_a_shape(model):
    replies = await model.score(ASKED)
    for reply in replies:
        usage = reply.usage
        assert usage.calls >= 1
        counted = usage.prefill_tokens + usage.cached_tokens
        assert (counted > 0) == isinstance(model, Sized)
        assert (usage.attended_tokens > 0) == isinstance(model, Sized)


async def test_closing_twice_is_safe_and_a_closed_model_does_not_hang(make):
    model = make()
    assert isinstance(model, RewardModel)
    assert isinstance(model, Closeable)
    model.close()
    model.close()
    [reply] = await asyncio.wait_for(model.score(ASKED[:1]), timeout=10)
    assert isinstance(reply, Failed) == isinstance(model, Sized)


async def test_calls_under_way_end_when_the_model_is_closed(make):
    model = make()
    calls = [asyncio.create_task(model.score([score])) for score in ASKED]
    await asyncio.sleep(0)
    model.close()
    replies = await asyncio.wait_for(asyncio.gather(*calls), timeout=10)
    assert all(isinstance(reply, Scored | Failed) for [reply] in replies)


def test_describe_is_text_for_people(model):
    told = model.describe()
    assert told["kind"]
    assert all(isinstance(value, str) and value for value in told.values())
