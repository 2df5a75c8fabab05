"""Rewards of chunks that end no step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rsdecode
from rsdecode.config import config_hash, load_config
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.requests import Score, Scored
from rsdecode.core.types import Context, Message, Segment
from rsdecode.models.abacus import model_path, problems
from rsdecode.rewards.calibration import Calibration
from rsdecode.rewards.load import load_reward_model
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import Marked, Rewards
from rsdecode.rewards.settings import RewardSettings
from tests.rewards import tiny

QUESTION = (Message("user", "How many?"),)


def chunk(before: list[str], *after: str, ends: bool = False) -> Score:
    context = Context(QUESTION, tuple(map(Segment, before)))
    return Score(context, tuple(map(Segment, after)), ends=ends)


def load(folder: Path, at: Any, save: Any = tiny.save_value_head) -> PrefixScorer:
    return load_reward_model(str(save(folder)[0]), tiny.OPTIONS, settings=RewardSettings(at=at))


async def rewards(model: PrefixScorer, request: Score) -> tuple[float, ...]:
    [reply] = await model.score([request])
    assert isinstance(reply, Scored)
    return reply.rewards


async def read(model: PrefixScorer, steps: list[str], partial: str = "") -> list[float]:
    """By the reader alone: the readings at every token of an answer."""
    ids = list(model.format.prompt_ids(QUESTION))
    start = len(ids)
    for index, step in enumerate(steps):
        ids += model.format.step_ids(step, index)
    ids += model.format._vocabulary.text_ids(partial.strip())  # type: ignore[attr-defined]
    [found] = await model._reader.read([Marked("plain", tuple(ids), tuple(range(start, len(ids))))])
    assert isinstance(found, Rewards)
    return list(found.values)


@pytest.mark.parametrize("save", [tiny.save_value_head, tiny.save_qwen_prm])
async def test_a_chunk_inside_a_step_is_read_at_its_own_tokens(tmp_path: Path, save: Any) -> None:
    whole = await read(load(tmp_path, None, save), ["One.\n\n"], "Two and three")
    first = len(await read(load(tmp_path, None, save), ["One.\n\n"], "Two"))
    for at, expected in (("token", whole[-1]), ("lowest", min(whole[first:]))):
        model = load(tmp_path, at, save)
        found = await rewards(model, chunk(["One.", "\n\nTwo"], " and three"))
        assert found == pytest.approx([expected], abs=1e-4)
        again = await rewards(model, chunk(["One.", "\n\nTwo"], " and", " three"))
        assert again[-1] == pytest.approx(whole[-1] if at == "token" else again[-1], abs=1e-4)
        if at == "lowest":
            assert min(again) == pytest.approx(expected, abs=1e-4)
        model.close()


async def test_a_chunk_that_ends_a_step_or_the_answer_is_read_at_the_mark(tmp_path: Path) -> None:
    plain, chunked = load(tmp_path, None), load(tmp_path, "lowest")
    expected = await rewards(plain, chunk(["One.\n\n"], "Two and three.\n\n"))
    found = await rewards(chunked, chunk(["One.\n\n", "Two and"], " three.\n\n"))
    assert found == pytest.approx(expected, abs=1e-4)
    at_the_end = await rewards(plain, chunk(["One.\n\n"], "Two and three"))
    ended = await rewards(chunked, chunk(["One.\n\n", "Two and"], " three", ends=True))
    assert ended == pytest.approx(at_the_end, abs=1e-4)
    going_on = await rewards(chunked, chunk(["One.\n\n", "Two and"], " three"))
    assert going_on != pytest.approx(at_the_end, abs=1e-4)


async def test_a_step_that_ends_within_a_chunk_keeps_its_mark(tmp_path: Path) -> None:
    model = load(tmp_path, "lowest")
    whole = await read(model, ["One.\n\n"], "Two")
    start = len(await read(model, [], "On"))
    found = await rewards(model, chunk(["On"], "e.\n\nTwo"))
    assert found == pytest.approx([min(whole[start:])], abs=1e-4)


async def test_white_space_alone_is_read_at_what_was_before(tmp_path: Path) -> None:
    model = load(tmp_path, "lowest")
    [last] = await rewards(model, chunk(["One"], " "))
    assert last == pytest.approx((await read(model, [], "One"))[-1], abs=1e-4)


async def test_only_new_tokens_are_computed(tmp_path: Path) -> None:
    model = load(tmp_path, "lowest")
    await model.score([chunk(["One"], " and two")])
    [reply] = await model.score([chunk(["One", " and two"], " and three")])
    assert isinstance(reply, Scored)
    assert reply.usage.prefill_tokens <= len(" and three")


@pytest.mark.parametrize("kind", ["plus-minus", "plus-minus-chat", "plus-minus-raw"])
def test_kinds_without_a_reading_at_every_token_refuse(tmp_path: Path, kind: str) -> None:
    folder = str(tiny.save_causal(tmp_path)[0])
    with pytest.raises(ConfigError, match=r"--reward-at.*value-head, qwen-prm, token-classifier"):
        load_reward_model(folder, tiny.OPTIONS, kind, RewardSettings(at="token"))
    load_reward_model(folder, tiny.OPTIONS, kind, RewardSettings(at="mark")).close()


def stated(folder: Path, chunks: Any) -> str:
    tiny.save_value_head(folder)
    config = json.loads((folder / "config.json").read_text())
    config["rsd_reward"] = {"chunks": chunks}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


async def test_a_checkpoint_says_how_its_chunks_are_read(tmp_path: Path) -> None:
    line = {"readings": [0.0, 1.0], "probabilities": [0.2, 0.4]}
    folder = stated(tmp_path, {"at": "token", "calibration": line})
    auto, bare, mark = [
        load_reward_model(folder, tiny.OPTIONS, settings=RewardSettings(at=at))
        for at in ("auto", "lowest", None)
    ]
    assert (auto.at, bare.at, mark.at) == ("token", "lowest", None)
    assert "as a calibrated probability" in auto.describe()["chunk inside a step"]
    assert bare.calibration is None, "the map is of another reading"
    [reading] = (await read(auto, [], "Two"))[-1:]
    assert await rewards(auto, chunk([], "Two")) == pytest.approx([0.2 + 0.2 * reading], abs=1e-4)


@pytest.mark.parametrize("chunks", [{"at": "nowhere"}, {"at": "token"}, ["token"]])
def test_what_a_checkpoint_says_must_be_of_use(tmp_path: Path, chunks: Any) -> None:
    with pytest.raises(ModelLoadError, match=r"rsd_reward\.chunks in the config"):
        load_reward_model(stated(tmp_path, chunks), tiny.OPTIONS)


@pytest.mark.parametrize(
    ("reading", "probability"), [(0.0, 0.1), (0.2, 0.1), (0.5, 0.5), (0.8, 0.9), (1.0, 0.9)]
)
def test_a_calibration_is_linear_between_its_points(reading: float, probability: float) -> None:
    found = Calibration((0.2, 0.8), (0.1, 0.9))
    assert found.probability(reading) == pytest.approx(probability)
    assert Calibration.of(json.loads(json.dumps(found.as_record()))) == found


@pytest.mark.parametrize(
    ("readings", "probabilities"),
    [((), ()), ((0.1,), ()), ((0.2, 0.2), (0.1, 0.2)), ((0.1, 0.2), (0.2, 0.1)), ((0.1,), (1.1,))],
)
def test_points_that_make_no_map(readings: Any, probabilities: Any) -> None:
    with pytest.raises(ValueError, match=r"must|needed"):
        Calibration(readings, probabilities)


def test_the_setting() -> None:
    plain = load_config()
    assert config_hash(load_config(overrides={"reward.at": "token"})) != config_hash(plain)
    with pytest.raises(ConfigError, match=r"'mark', 'token' or"):
        load_config(overrides={"reward.at": "end"})
    with pytest.raises(ConfigError, match="at has no effect on a reward of kind arithmetic"):
        load_config(overrides={"reward.at": "token", "reward.spec": "arithmetic"})


def test_the_embedded_reward_model_is_calibrated() -> None:
    section = json.loads((model_path("prm") / "config.json").read_text())["rsd_reward"]["chunks"]
    assert section["at"] == "lowest"
    found = Calibration.of(section["calibration"])
    assert found.probability(0.01) < 0.6
    assert found.probability(0.999) > 0.95


def test_the_embedded_family_accepts_chunks_of_eight_tokens() -> None:
    """Read at a mark that stands for a finished step, none of them was accepted."""
    questions = [p.question for p in problems("validation", limit=8)]

    def accepted(asked: list[str], **settings: object) -> float:
        config = load_config(overrides={"boundary": "tokens:8", **settings})
        with rsdecode.load(config, threshold=0.9) as rsd:
            steps = [step for t in rsd.solve_many(asked) for step in t.steps]
        assert len(steps) > 20
        return sum(step.accepted for step in steps) / len(steps)

    assert accepted(questions) > 0.7
    assert accepted(questions[:3], **{"reward.at": "mark"}) < 0.3
