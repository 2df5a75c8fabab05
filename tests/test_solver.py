from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsdecode
from rsdecode import Decided, Delta, Finished, Problem, Proposed, Scored, Single, Solver
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.errors import ConfigError, InputError, SessionClosed
from rsdecode.core.requests import Generate
from rsdecode.core.types import Message

DRAFT = {
    "generate": {"*": ["2 + 2 = 4.\n\n", "So it is 5.\n\n", "The answer is \\boxed{4}."]},
    "score": {"*": [0.9, 0.2, 0.8]},
}
TARGET = {"generate": {"*": ["Two and two.\n\n", "It is 4.\n\n", "Answer: \\boxed{4}."]}}


@pytest.fixture
def specs(tmp_path: Path) -> dict[str, str]:
    for name, script in (("draft", DRAFT), ("target", TARGET)):
        (tmp_path / f"{name}.json").write_text(json.dumps(script))
    draft, target = f"scripted:{tmp_path}/draft.json", f"scripted:{tmp_path}/target.json"
    return {"draft": draft, "target": target, "reward": draft}


def test_solve(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs) as rsd:
        trajectory = rsd.solve("2 + 2?")
        assert trajectory.answer == "4"
        assert [step.source.value for step in trajectory.steps] == ["draft", "target", "draft"]
        assert rsd.solve("2 + 2?", method="target").text.startswith("Two and two.")
        assert rsd.solve("2 + 2?", method=Single()).text.startswith("Two and two.")
        assert [s.source for s in rsd.solve("2 + 2?", method="rsd@0.1").steps] == ["draft"] * 3
        assert rsd.record(trajectory)["answer"] == "4"


def test_thoughts_that_are_named_hold_no_answer(specs: dict[str, str], tmp_path: Path) -> None:
    script = {"generate": {"*": ["[[It may be \\boxed{5}.]]\n\n", "So \\boxed{4}. [[Or 6."]}}
    (tmp_path / "draft.json").write_text(json.dumps(script))
    named = {"thoughts": [["[[", "]]"]]}
    with rsdecode.load(**specs, method="draft") as rsd:
        assert rsd.solve("2 + 2?").answer == "4"
    with rsdecode.load(**specs, method="draft", answer=named) as rsd:
        assert rsd.solve("2 + 2?").answer is None  # thoughts that never end


def test_threshold_method_and_sections(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs, threshold=0.1, limits={"max_steps": 2}) as rsd:
        assert rsd.solve("2 + 2?").stop_reason == "max_steps"
        assert rsd.config.weighting.threshold == 0.1
    with rsdecode.load(**specs, method="target") as rsd:
        assert rsd.models.draft is None
        with pytest.raises(ConfigError, match="--draft"):
            rsd.solve("2 + 2?", method="draft")


def test_a_configuration_file_and_a_configuration(specs: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(f"draft: {specs['draft']}\nlimits: {{max_steps: 2, max_tokens: 90}}\n")
    others = {"target": specs["target"], "reward": specs["reward"]}
    with rsdecode.load(file, **others, limits={"max_steps": 1}) as rsd:
        config = rsd.config
        assert (config.limits.max_steps, config.limits.max_tokens) == (1, 90)
    with rsdecode.load(config, threshold=0.3) as rsd:
        assert (rsd.config.limits.max_steps, rsd.config.weighting.threshold) == (1, 0.3)


def test_many(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs, run={"concurrency": 3}) as rsd:
        questions = [f"question {i}" for i in range(20)]
        together = rsd.solve_many(questions)
        assert [t.problem.question for t in together] == questions
        assert [t.problem.id for t in together] == [str(i) for i in range(20)]
        seen = {t.problem.id for t in rsd.as_completed(iter(questions))}
        assert seen == {str(i) for i in range(20)}
        with pytest.raises(ConfigError, match="use solve"):
            rsd.solve_many("one question")


def test_stream(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs) as rsd:
        events = list(rsd.stream("2 + 2?"))
        assert [type(event) for event in events[:3]] == [Proposed, Scored, Decided]
        assert isinstance(events[-1], Finished)
        decided = [event.step.text for event in events if isinstance(event, Decided)]
        assert "".join(decided) == events[-1].trajectory.text


def test_deltas_of_the_embedded_family() -> None:
    with rsdecode.load() as rsd:
        question = (
            "Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. "
            "How many buttons are there at the end?"
        )
        events = list(rsd.stream(question, method="target"))
        [*_, finished] = events
        assert isinstance(finished, Finished)
        shown = [event.text for event in events if isinstance(event, Delta)]
        assert "".join(shown) == finished.trajectory.text
        assert len(shown) > 10


def test_loading_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Libraries report weights that they do not know; the reward head is ours to load."""
    for _ in range(2):  # with the libraries not imported yet, and imported
        rsdecode.load().close()
    assert capfd.readouterr() == ("", "")


def test_leaving_a_stream_ends_the_problem() -> None:
    stopped = threading.Event()

    class Endless(ScriptedModel):
        async def generate(self, requests: Any) -> Any:
            if not requests[0].context.answer:
                return await super().generate(requests)
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

    endless = Endless(lambda request: "a step\n\n")
    with rsdecode.load(draft=endless, target=endless, reward=ScriptedReward(lambda r: 1.0)) as rsd:
        for event in rsd.stream("q"):
            if isinstance(event, Decided):
                break
        assert stopped.wait(10)


async def test_inside_a_running_loop(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs) as rsd:
        assert rsd.solve("2 + 2?").answer == "4"
        both = await asyncio.gather(rsd.asolve("2 + 2?"), rsd.asolve("2 + 2?", method="target"))
        assert [trajectory.answer for trajectory in both] == ["4", "4"]
        events = [event async for event in rsd.astream("2 + 2?")]
        assert isinstance(events[-1], Finished)


async def test_cancelling_the_caller_ends_the_problem() -> None:
    stopped, started = threading.Event(), threading.Event()

    class Slow(ScriptedModel):
        async def generate(self, requests: Any) -> Any:
            started.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

    slow = Slow(lambda request: "x")
    with rsdecode.load(target=slow, method="target") as rsd:
        task = asyncio.create_task(rsd.asolve("q"))
        await asyncio.to_thread(started.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(stopped.wait, 10)


def test_several_threads_share_a_solver(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs, run={"concurrency": 2}) as rsd:
        answers: list[str | None] = []

        def work() -> None:
            answers.extend(t.answer for t in rsd.solve_many(["2 + 2?"] * 10))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == ["4"] * 30


def test_models_and_functions_of_ones_own() -> None:
    asked: list[str] = []

    def write(request: Generate) -> str:
        asked.append(request.context.messages[-1].content)
        return "x\n\n" if len(request.context.answer) < 2 else "\\boxed{7}"

    def judge(question: str, steps: list[str]) -> float:
        return 0.0 if len(steps) == 2 else 1.0

    model = ScriptedModel(write)
    with rsdecode.load(draft=model, target=model, reward=judge) as rsd:
        trajectory = rsd.solve("mine")
    assert [step.source.value for step in trajectory.steps] == ["draft", "target", "draft"]
    assert (trajectory.answer, set(asked)) == ("7", {"mine"})


@pytest.mark.parametrize("wrong", [{"draft": 3}, {"reward": 3}, {"target": ScriptedReward}])
def test_what_is_no_model(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is neither a spec"):
        rsdecode.load(**wrong)


def test_conversations_and_problems(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs, prompt={"system": "Think."}) as rsd:
        turns = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "2 + 2?"},
        ]
        asked = rsd.solve(turns).problem
        assert [m.role for m in asked.messages] == ["system", "user", "assistant", "user"]
        own = [Message("system", "Mine."), Message("user", "2 + 2?")]
        assert rsd.solve(own).problem.messages == tuple(own)
        assert rsd.solve(Problem.ask("2 + 2?", id="x")).problem.id == "x"
        with pytest.raises(InputError, match="must end with a message of the user"):
            rsd.solve(turns[:2])


def test_a_closed_solver_says_so(specs: dict[str, str]) -> None:
    rsd = rsdecode.load(**specs)
    rsd.close()
    rsd.close()
    for call in (rsd.solve, lambda q: list(rsd.stream(q)), lambda q: rsd.solve_many([q])):
        with pytest.raises(SessionClosed, match=r"rsdecode.load\(\)"):
            call("2 + 2?")


def test_a_deadline() -> None:
    slow = ScriptedModel(lambda request: "x", latency_s=60)
    with rsdecode.load(target=slow, method="target") as rsd:
        trajectory = rsd.solve("q", deadline_s=0.05)
        assert (trajectory.stop_reason, trajectory.answer) == ("cancelled", None)


def test_a_solver_that_nobody_closed_leaves_no_thread(specs: dict[str, str]) -> None:
    before = threading.active_count()
    rsd: Solver | None = rsdecode.load(**specs)
    assert rsd is not None
    assert rsd.solve("2 + 2?").answer == "4"
    del rsd
    for _ in range(100):
        if threading.active_count() <= before:
            return
        time.sleep(0.02)
    raise AssertionError("the solver's thread lives on")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("", "the question is empty"),
        (" \n", "the question is empty"),
        ("a\ud800b", "not valid Unicode"),
        (None, "must be a text, a list of messages or a Problem, not None"),
        (b"2 + 2?", "must be a text, a list"),
        ({"role": "user", "content": "2 + 2?"}, "must be a text, a list"),
        (["2 + 2?"], "message 1 must be an object"),
        ([{"role": "human", "content": "2 + 2?"}], "the role 'human' must be"),
        ([{"role": "user"}], "must be a text, not None"),
        ([{"role": "user", "content": "2 + 2?", "name": "x"}], "only role and content are read"),
        ([{"role": "user", "content": [{"type": "image"}]}], "only texts are read"),
        (Problem("x", ()), "problem 'x' has no messages"),
    ],
)
def test_what_is_no_question(specs: dict[str, str], question: Any, said: str) -> None:
    with rsdecode.load(**specs) as rsd:
        with pytest.raises(InputError, match=said):
            rsd.solve(question)
        with pytest.raises(InputError, match="question 1: "):
            rsd.solve_many(["2 + 2?", question])
        with pytest.raises(InputError):
            list(rsd.stream(question))
        assert rsd.solve("2 + 2?").answer == "4"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"temperature": 1.0}, "unknown option temperature: a call takes method, seed"),
        ({"seed": "1"}, "seed '1' must be a whole number"),
        ({"sample": 0.5}, "sample 0.5 must be a whole number"),
        ({"deadline_s": 0}, "deadline_s 0 must be a positive number"),
        ({"deadline_s": "3"}, "deadline_s '3' must be a positive number"),
        ({"method": 3}, "method 3 must be a name"),
        ({"method": Single}, "must be a name such as"),
    ],
)
def test_options_of_a_call_are_checked(
    specs: dict[str, str], option: dict[str, Any], said: str
) -> None:
    with rsdecode.load(**specs) as rsd:
        for call in (rsd.solve, lambda q, **o: rsd.solve_many([q], **o)):
            with pytest.raises(ConfigError, match=said):
                call("2 + 2?", **option)
        with pytest.raises(ConfigError, match=said):
            list(rsd.stream("2 + 2?", **option))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"draft": "abacus:draft"}, r"give settings by their names, load\(\*\*settings\)"),
        ("Some/Model-7B", "no such file; models are named by draft="),
        (Path("no.yaml"), "no such file"),
        ("preset:none", "there is no preset 'none'"),
    ],
)
def test_what_is_no_configuration(config: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rsdecode.load(config)


def test_one_conversation_in_place_of_many_questions(specs: dict[str, str]) -> None:
    with rsdecode.load(**specs) as rsd:
        with pytest.raises(InputError, match="into a list of their own"):
            rsd.solve_many([{"role": "user", "content": "2 + 2?"}])  # type: ignore[list-item]
        with pytest.raises(ConfigError, match="a list of questions is wanted here, not None"):
            rsd.solve_many(None)  # type: ignore[arg-type]


@pytest.fixture
def interrupt() -> Iterator[None]:
    """Ctrl-C after a moment, also where a shell has started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupt")
@pytest.mark.parametrize("call", ["solve", "solve_many", "as_completed", "stream"])
def test_ctrl_c_ends_what_is_in_flight(call: str) -> None:
    slow = ScriptedModel(lambda request: "x", latency_s=60)
    with rsdecode.load(target=slow, method="target") as rsd:
        asked = "q" if call in ("solve", "stream") else ["q"] * 200
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            list(getattr(rsd, call)(asked))
        assert time.perf_counter() - start < 20
        assert rsd.solve("q", deadline_s=0.05).stop_reason == "cancelled"
