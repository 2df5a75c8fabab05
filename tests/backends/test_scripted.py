from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward, load_script
from rsdecode.core.cost import attended_tokens
from rsdecode.core.errors import ConfigError, PromptTooLong, RequestError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary, parse_boundary
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Segment, Usage
from rsdecode.methods import RSD, Single
from rsdecode.session.drive import drive

QUESTION = Context((Message("user", "two words"),))


def ask(boundary: Boundary = PARAGRAPH, max_tokens: int = 100, *answer: str) -> Generate:
    context = QUESTION.followed_by(*map(Segment, answer))
    return Generate(Role.DRAFT, context, max_tokens, boundary)


async def written(text: str, request: Generate) -> Generated:
    [reply] = await ScriptedModel(lambda _: text).generate([request])
    assert isinstance(reply, Generated)
    return reply


@pytest.mark.parametrize(
    ("text", "request_", "cut", "finish"),
    [
        ("a b\n\nc", ask(), "a b\n\n", "stop"),
        ("a b", ask(), "a b", "eos"),
        ("", ask(), "", "eos"),
        ("a\n\nb\n\nc", ask(WHOLE_ANSWER), "a\n\nb\n\nc", "eos"),
        ("a b c", ask(max_tokens=2), "a b ", "step_limit"),
        ("a b c", ask(max_tokens=3), "a b c", "eos"),
        ("a b c\n\nd", ask(max_tokens=2), "a b ", "step_limit"),
        ("a b\n\nc", ask(max_tokens=2), "a b\n\n", "stop"),
        ("a\n\nb\n\nc", ask(WHOLE_ANSWER, 2), "a\n\nb\n\n", "step_limit"),
        (" a  b c", ask(max_tokens=2), " a  b ", "step_limit"),
        ("a b c", ask(parse_boundary("tokens:2")), "a b ", "stop"),
        ("a b c", ask(parse_boundary("tokens:2"), 2), "a b ", "stop"),
        ("a b c", ask(parse_boundary("tokens:2"), 1), "a ", "step_limit"),
        ("a b", ask(parse_boundary("tokens:2")), "a b", "eos"),
    ],
)
async def test_where_a_text_is_cut(
    text: str, request_: Generate, cut: str, finish: FinishReason
) -> None:
    reply = await written(text, request_)
    assert (reply.segment.text, reply.finish_reason) == (cut, finish)


@given(st.text("ab \n", max_size=30), st.integers(1, 8), st.integers(0, 4))
async def test_a_reply_is_the_start_of_the_text_within_its_limit(
    text: str, limit: int, chunk: int
) -> None:
    request = ask(Boundary(("\n\n",), tokens=chunk), limit)
    reply = await written(text, request)
    assert text.startswith(reply.segment.text)
    assert len(reply.segment.text.split()) <= limit
    assert (reply.segment.text == text) or reply.finish_reason is not FinishReason.EOS


async def test_words_are_counted_as_tokens_and_the_end_as_one() -> None:
    ended = await written("a b", ask(PARAGRAPH, 9, "x y z\n\n"))
    assert ended.usage == Usage(5, 0, 3, 1, 0.0, attended_tokens(0, 7))
    assert (await written("a b\n\n", ask())).usage.decoded_tokens == 2


async def test_a_function_may_give_a_whole_reply() -> None:
    reply = Generated(Segment("x"), FinishReason.LENGTH)
    assert await ScriptedModel(lambda _: reply).generate([ask()]) == [reply]


async def test_replies_come_in_the_order_of_the_requests_and_fail_alone() -> None:
    def write(request: Generate) -> str:
        if request.max_tokens == 2:
            raise PromptTooLong("too long")
        return str(request.max_tokens)

    first, second, third = await ScriptedModel(write, latency_s=1e-6).generate(
        [ask(max_tokens=n) for n in (1, 2, 3)]
    )
    assert isinstance(first, Generated)
    assert first.segment.text == "1"
    assert isinstance(second, Failed)
    assert isinstance(second.error, PromptTooLong)
    assert isinstance(third, Generated)
    assert third.segment.text == "3"


async def test_rewards_of_one_step_and_of_several() -> None:
    steps = (Segment("a b c\n\n"), Segment("d"))
    [one] = await ScriptedReward(lambda _: 0.5).score([Score(QUESTION, steps[:1])])
    assert one == Scored((0.5,), Usage(5, 0, 0, 1, 0.0, attended_tokens(0, 5)))
    [two] = await ScriptedReward(lambda _: [0.5, 0.25], latency_s=1e-6).score(
        [Score(QUESTION, steps)]
    )
    assert isinstance(two, Scored)
    assert two.rewards == (0.5, 0.25)


async def test_a_reward_function_may_fail_its_request() -> None:
    def judge(request: Score) -> float:
        raise RequestError("no idea")

    [reply] = await ScriptedReward(judge).score([Score(QUESTION, (Segment("a"),))])
    assert isinstance(reply, Failed)


def script(folder: Path, content: object) -> Path:
    path = folder / "script.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


SCRIPT = {
    "generate": {"*": ["2 + 2 = 4.\n\n", "So 4.\n\n", r"It is \boxed{4}."], "hi": ["hello"]},
    "score": {"*": [0.9, 0.2], "hi": [1]},
}


def test_a_script_is_played_step_by_step(tmp_path: Path) -> None:
    model, reward = load_script(script(tmp_path, SCRIPT))
    trajectory = drive(RSD()(Problem.ask("2 + 2?")), Models(model, model, reward))
    assert trajectory.text == "2 + 2 = 4.\n\nSo 4.\n\nIt is \\boxed{4}."
    assert [step.reward for step in trajectory.steps] == [0.9, 0.2, 0.2]
    assert [step.source for step in trajectory.steps] == ["draft", "target", "target"]
    assert trajectory.stop_reason is FinishReason.EOS


def test_a_script_may_be_read_in_one_request(tmp_path: Path) -> None:
    model, _ = load_script(script(tmp_path, SCRIPT))
    trajectory = drive(Single()(Problem.ask("2 + 2?")), Models(target=model))
    assert len(trajectory.steps) == 3
    assert trajectory.stop_reason is FinishReason.EOS


def test_a_question_of_its_own_comes_before_the_star(tmp_path: Path) -> None:
    model, reward = load_script(script(tmp_path, SCRIPT))
    trajectory = drive(RSD()(Problem.ask("hi")), Models(model, model, reward))
    assert (trajectory.text, trajectory.steps[0].reward) == ("hello", 1.0)


async def test_beyond_the_script(tmp_path: Path) -> None:
    model, reward = load_script(script(tmp_path, SCRIPT))
    beyond = ask(PARAGRAPH, 100, *"abcde")
    [reply] = await model.generate([beyond])
    assert isinstance(reply, Generated)
    assert (reply.segment.text, reply.finish_reason) == ("", "eos")
    [score] = await reward.score([Score(beyond.context, (Segment("x"), Segment("y")))])
    assert isinstance(score, Scored)
    assert score.rewards == (0.2, 0.2)


async def test_a_question_without_an_entry_fails_its_request(tmp_path: Path) -> None:
    path = script(tmp_path, {"generate": {"other": ["x"]}})
    model, reward = load_script(path)
    [text], [score] = (
        await model.generate([ask()]),
        await reward.score([Score(QUESTION, (Segment("a"),))]),
    )
    assert isinstance(text, Failed)
    assert str(text.error) == f'scripted:{path} has no "generate" entry for \'two words\' or "*"'
    assert isinstance(score, Failed)
    assert '"score" entry' in str(score.error)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not a readable JSON file"),
        ("", "not a readable JSON file"),
        ([], '"generate" must map questions'),
        ({"generate": []}, '"generate" must map questions'),
        ({"generate": {"*": "text"}}, '"generate" must map questions'),
        ({"generate": {"*": []}}, '"generate" must map questions'),
        ({"generate": {"*": [1]}}, '"generate" must map questions'),
        ({"score": {"*": ["0.5"]}}, '"score" must map questions'),
        ({"score": {"*": 0.5}}, '"score" must map questions'),
    ],
)
def test_scripts_of_another_form(tmp_path: Path, content: Any, message: str) -> None:
    path = script(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as error:
        load_script(path)
    assert str(error.value).startswith(f"scripted:{path}")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        load_script(tmp_path / "missing.json")
    with pytest.raises(ConfigError, match="not a readable JSON file"):
        load_script(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"generate": "\xe9"}')
    with pytest.raises(ConfigError, match="not a readable JSON file"):
        load_script(tmp_path / "latin.json")
