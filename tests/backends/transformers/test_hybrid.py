"""Models with recurrent or convolution states: from-scratch tokens at every step, and their cost.

RSDECODE_ALL_FAMILIES=1 tries every such family of the installed transformers with 16 problems.
"""

from __future__ import annotations

import inspect
import os
import random
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from benchmarks.tiny_families import tiny_model
from rsdecode import RSD, Beam, BestOfN, Method, Problem, ProcessBestOfN, Role, Speculative
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.families import CHUNKED, Reading, reading_of
from rsdecode.backends.transformers.footprint import footprint
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.backends.transformers.network import BackboneNetwork, CausalNetwork
from rsdecode.backends.transformers.probe import output_distance
from rsdecode.backends.transformers.sampling import sample
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Sampling
from rsdecode.core.segment import Boundary
from rsdecode.core.types import Trajectory
from rsdecode.core.weighting import BinaryStep
from rsdecode.rewards.function import FunctionReward
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from tests.backends.transformers import tiny

ALL = bool(os.environ.get("RSDECODE_ALL_FAMILIES"))
SINGLE = ["falcon_mamba", "jamba", "mamba", "zamba"]
FAMILIES = [*sorted(CHUNKED), *SINGLE] if ALL else ["jamba", "lfm2", "nemotron_h", "qwen3_next"]
SOLVING = FAMILIES if ALL else ["jamba", "qwen3_next"]
PROBLEMS = 16 if ALL else 3
STEPS = Boundary((" ", "e", "t", "\n"), tokens=6)
"""Short steps; some tokens, such as " the", cross their ends."""
ROUNDING = {"nemotron_h": 0.02, "zamba2": 0.05}
"""How far logits of one token at a time are from those of the whole text in transformers' own code,
where that is more than 0.0001."""
SAMPLED = Sampling(1.0, top_p=0.95)
SHORT = Limits(max_tokens=24, max_steps=6, max_step_tokens=8)


def hybrid(family: str, seed: int = 0) -> Any:
    """A tiny random model over the tokens of `tiny.tokenizer`."""
    model = tiny_model(family, seed, tokens=257 + len(tiny.MERGES))
    model.generation_config.eos_token_id = 0
    return model


def make_engine(model: Any, **options: Any) -> Engine:
    given = {"slots": 4, "max_context": 400, "eos": frozenset({0}), **options}
    return Engine(CausalNetwork(model), tokenizer=tiny.tokenizer(), **given)


def prompts(count: int, seed: int = 1, most: int = 60) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    lengths = [draw.randint(2, most) for _ in range(count)]
    return [tuple(draw.randint(1, 256) for _ in range(n)) for n in lengths]


def next_logits(model: Any, ids: Sequence[int], cache: DynamicCache) -> torch.Tensor:
    """The logits [1, V] after more ids, by the model alone with a cache of its own.

    Positions are given as `generate` gives them: Bamba of transformers 5.24 counts from 0 again
    where they are left out.
    """
    given: dict[str, Any] = {"cache": cache, "use_cache": True}
    if "position_ids" in inspect.signature(model.forward).parameters:
        start = cache.get_seq_length()
        given["position_ids"] = torch.arange(start, start + len(ids))[None]
    return model(input_ids=torch.tensor([list(ids)]), **given).logits[:, -1]


@torch.inference_mode()
def from_scratch(model: Any, job: Decode, count: int) -> list[int]:
    """`count` tokens of the model with a cache of its own, all read anew, alone.

    At temperature 0 by `generate` itself.
    """
    if not count:  # its only token crossed the step's end
        return []
    ids = torch.tensor([job.ids])
    if job.sampling.temperature == 0:
        given = {"attention_mask": torch.ones_like(ids), "do_sample": False, "pad_token_id": 0}
        written = model.generate(ids, max_new_tokens=count, eos_token_id=None, **given)
        return written[0, len(job.ids) :].tolist()
    draw, cache, written = random.Random(job.seed), DynamicCache(config=model.config), list[int]()
    new: Sequence[int] = job.ids
    while len(written) < count:
        logits = next_logits(model, new, cache)
        new = sample(logits, [job.sampling], [draw.random()])
        written += new
    return written


@torch.inference_mode()
def logits_of(model: Any, job: Decode, written: Sequence[int]) -> torch.Tensor:
    """The model's own logits [T, V] in the place of each token, by one pass over all of them.

    Token by token where the code for one computes otherwise than that for several.
    """
    if reading_of(model) is not Reading.WHOLE:
        ids = torch.tensor([[*job.ids, *written]])
        return model(ids, use_cache=False).logits[0, len(job.ids) - 1 : -1]
    cache, read = DynamicCache(config=model.config), [job.ids, *([token] for token in written)]
    rows = [next_logits(model, new, cache) for new in read[: len(written)]]
    return torch.cat(rows) if rows else torch.empty(0, 0)


def is_drawn_from_scratch(
    model: Any, job: Decode, written: Sequence[int], rounding: float = 1e-4
) -> bool:
    """Whether each token is the one that is drawn from the model's own logits.

    Of two tokens that are all but equally likely either may be the likeliest, or stand at the
    place of the draw, as the nucleus is ordered by likelihood: rounding decides.
    """
    draw = random.Random(job.seed)
    for row, token in zip(logits_of(model, job, written), written, strict=True):
        place = draw.random()
        shifts = (-rounding / 10, 0.0, rounding / 10)
        near = [min(max(place + shift, 0.0), 1.0 - 1e-9) for shift in shifts]
        drawn = sample(row.expand(3, -1), [job.sampling] * 3, near)
        if float((row[drawn] - row[token]).abs().min()) > rounding:
            return False
    return True


class Recorded(LocalModel):
    """Notes what its engine wrote."""

    def __init__(self, model: Any, slots: int) -> None:
        super().__init__(model, tiny.tokenizer(), LoadOptions(slots=slots, max_context=400))
        self.raw, self.written = model, list[tuple[Decode, Decoded]]()
        decode = self._engine.decode

        async def recording(jobs: Sequence[Decode], show: Any = None) -> Any:
            replies = await decode(jobs, show)
            assert all(isinstance(reply, Decoded) for reply in replies), replies
            self.written += zip(jobs, replies, strict=True)
            return replies

        self._engine.decode = recording  # type: ignore[method-assign]

    def check(self, family: str) -> int:
        """All it wrote is what the model writes from scratch; how many tokens that were."""
        rounding = ROUNDING.get(family, 1e-4)
        wanted = {(job.ids, job.seed, reply.ids): job for job, reply in self.written}
        for (_, _, ids), job in wanted.items():
            if ALL or family in ROUNDING:
                assert is_drawn_from_scratch(self.raw, job, ids, rounding), job
            else:
                assert list(ids) == from_scratch(self.raw, job, len(ids)), job
        return sum(len(ids) for _, _, ids in wanted)


def judged(question: str, steps: list[str]) -> float:
    """Accepts about half."""
    return (zlib.crc32("|".join([question, *steps]).encode()) % 100) / 100


METHODS: dict[str, Method] = {
    "rsd greedy": RSD(BinaryStep(0.5), boundary=STEPS, limits=SHORT),
    "rsd sampled, ahead": RSD(
        BinaryStep(0.5),
        lookahead=1,
        boundary=STEPS,
        limits=SHORT,
        draft_sampling=SAMPLED,
        target_sampling=SAMPLED,
    ),
    "rsd of 3 candidates": RSD(
        BinaryStep(0.5), candidates=3, boundary=STEPS, limits=SHORT, draft_sampling=SAMPLED
    ),
    "best of 4": BestOfN(4, boundary=STEPS, limits=SHORT, sampling=SAMPLED),
    "process best of 3": ProcessBestOfN(3, boundary=STEPS, limits=SHORT, sampling=SAMPLED),
    "beam": Beam(2, 2, boundary=STEPS, limits=SHORT, sampling=SAMPLED),
    "speculative": Speculative(4, boundary=STEPS, limits=SHORT),
}
QUICK = {"qwen3_next": ("rsd greedy", "beam"), "jamba": ("rsd greedy",)}


async def solved(models: Models, method: Method, concurrency: int) -> list[Trajectory]:
    draw = random.Random(7)
    words = [chr(97 + draw.randint(0, 25)) * draw.randint(1, 3) for _ in range(40)]
    questions = [
        Problem.ask(" ".join(words[: draw.randint(1, 30)]), id=str(i)) for i in range(PROBLEMS)
    ]
    jobs = [Job(question, method) for question in questions]
    ended = {t.problem.id: t async for t in Session(models, concurrency=concurrency).run(jobs)}
    return [ended[question.id] for question in questions]


CASES = [(family, name) for family in SOLVING for name in (METHODS if ALL else QUICK[family])]


@pytest.mark.parametrize(("family", "name"), CASES)
async def test_methods_write_from_scratch_tokens_at_every_step(family: str, name: str) -> None:
    """Side by side and alone; drafts accepted and rejected; branches."""
    reward, method = FunctionReward(judged), METHODS[name]
    texts: list[list[str]] = []
    for slots in (16, 1):
        draft, target = Recorded(hybrid(family), slots), Recorded(hybrid(family, 1), slots)
        ended = await solved(Models(draft, target, reward), method, slots)
        texts.append([trajectory.text for trajectory in ended])
        if name.startswith("rsd"):
            sources = {s.source for t in ended for s in t.steps}
            assert sources == {Role.DRAFT, Role.TARGET}
        if slots > 1 or texts[0] != texts[1]:
            assert draft.check(family) + target.check(family) > 8 * PROBLEMS
        draft.close()
        target.close()
    same = sum(ours == theirs for ours, theirs in zip(*texts, strict=True))
    apart = 2 if ALL and name not in ("rsd greedy", "speculative") else 0
    assert family in ROUNDING or same >= PROBLEMS - apart, "rounding parts few answers at most"


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_rejected_step_costs_no_prefill_of_what_came_before(family: str) -> None:
    model = hybrid(family)
    engine = make_engine(model)
    whole = reading_of(model) is Reading.WHOLE

    async def write(ids: tuple[int, ...], count: int = 6) -> Decoded:
        [reply] = await engine.decode([Decode("s", ids, count)])
        assert isinstance(reply, Decoded)
        assert list(reply.ids) == from_scratch(model, Decode("s", ids, count), len(reply.ids))
        return reply

    prompt = prompts(1, seed=3)[0]
    first = await write(prompt)
    assert (first.usage.cached_tokens, first.usage.prefill_tokens) == (0, len(prompt))
    foreign = (*prompt, 5, 6, 7)  # rejected: somebody else's step follows the prompt
    second = await write(foreign)
    assert (second.usage.cached_tokens, second.usage.prefill_tokens) == (len(prompt), 3)
    accepted = (*foreign, *second.ids)
    third = await write(accepted)
    again = len(second.ids) if whole else 1
    assert third.usage.prefill_tokens == again
    back = await write((*foreign, 8, 9))  # the step before the last is taken back as well
    assert (back.usage.cached_tokens, back.usage.prefill_tokens) == (len(foreign), 2)
    same = await write((*foreign, 8, 9))  # the very same request: state and outputs are there
    assert same.usage.prefill_tokens == 0
    assert same.ids == back.ids
    engine.close()


async def test_branches_copy_state_and_outputs_of_the_prompt() -> None:
    model = hybrid("qwen3_next")
    engine = make_engine(model)
    prompt = prompts(1, seed=4)[0]
    await engine.decode([Decode("p/0", prompt, 5)])
    jobs = [Decode(f"p/{i}", prompt, 5, sampling=SAMPLED, seed=i) for i in range(1, 4)]
    for job, reply in zip(jobs, await engine.decode(jobs), strict=True):
        assert isinstance(reply, Decoded)
        assert (reply.usage.cached_tokens, reply.usage.prefill_tokens) == (len(prompt), 0)
        assert list(reply.ids) == from_scratch(model, job, len(reply.ids))
    engine.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_rows_of_many_lengths_side_by_side_and_in_chunks(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts that are written to beside others that are being read, more of them than slots."""
    monkeypatch.setattr("rsdecode.backends.transformers.even_batching.CHUNK_TOKENS", 16)
    model = hybrid(family)
    engine = make_engine(model, slots=5)
    jobs = [Decode(str(i), ids, 3 + i % 4) for i, ids in enumerate(prompts(12, most=90))]
    for job, reply in zip(jobs, await engine.decode(jobs), strict=True):
        assert isinstance(reply, Decoded)
        assert list(reply.ids) == from_scratch(model, job, len(reply.ids))
    engine.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_reward_model_reads_steps_from_its_snapshots(family: str) -> None:
    """Outputs at marks equal a plain forward pass; a step that is replaced is alone read anew."""
    model = hybrid(family)
    engine = Engine(
        BackboneNetwork(model.base_model, lambda hidden: hidden[..., :3]), slots=2, max_context=200
    )
    start = prompts(1, seed=9)[0]
    steps = prompts(4, seed=10, most=9)

    async def read(before: tuple[int, ...], step: tuple[int, ...]) -> Prefilled:
        ids = (*before, *step)
        job = Prefill("s", ids, (len(ids) - 2, len(ids) - 1), returns=(len(before),))
        [reply] = await engine.prefill([job])
        assert isinstance(reply, Prefilled)
        with torch.inference_mode():
            given = torch.tensor([ids])
            plain = model.base_model(input_ids=given, use_cache=False).last_hidden_state
        torch.testing.assert_close(reply.outputs, plain[0, -2:, :3], atol=2e-3, rtol=2e-3)
        return reply

    await read(start, steps[0])
    replaced = await read(start, steps[1])
    assert replaced.usage.prefill_tokens == len(steps[1])
    rejected_again = await read((*start, *steps[1]), steps[2])
    assert rejected_again.usage.prefill_tokens == len(steps[2])
    last = await read((*start, *steps[1]), steps[3])
    assert last.usage.prefill_tokens == len(steps[3])
    engine.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_verifying_a_step_again_reads_that_step_alone(family: str) -> None:
    """The output before its first token is kept with the snapshot; then the step is written."""
    model = hybrid(family)
    engine = make_engine(model)
    start = prompts(1, seed=11)[0]
    for step in ((4, 5, 6), (7, 8, 9, 10)):
        ids = (*start, *step)
        marks = tuple(range(len(start) - 1, len(ids)))
        [reply] = await engine.prefill([Prefill("s", ids, marks, returns=(len(start),))])
        assert isinstance(reply, Prefilled)
        with torch.inference_mode():
            plain = model(torch.tensor([ids]), use_cache=False).logits[0, list(marks)]
        torch.testing.assert_close(reply.outputs, plain, atol=2e-2, rtol=2e-3)
    assert reply.usage.prefill_tokens == 4
    [written] = await engine.decode([Decode("s", start, 5)])
    assert isinstance(written, Decoded)
    assert written.usage.prefill_tokens == 0
    assert list(written.ids) == from_scratch(model, Decode("s", start, 5), len(written.ids))
    engine.close()


async def test_where_texts_part_is_kept_for_a_reader_that_is_told_nothing() -> None:
    """As a judge reads: the same beginning, and each time another end."""
    model = hybrid("lfm2")
    engine = make_engine(model)
    shared, ends = prompts(1, seed=5)[0] * 2, [(3, 4, 5), (9, 4, 5), (8, 8)]
    costs: list[int] = []
    for end in ends:
        ids = (*shared, *end)
        [reply] = await engine.prefill([Prefill("s", ids, (len(ids) - 1,))])
        assert isinstance(reply, Prefilled)
        with torch.inference_mode():
            plain = model(torch.tensor([ids]), use_cache=False).logits[0, -1:]
        torch.testing.assert_close(reply.outputs, plain, atol=1e-4, rtol=1e-4)
        costs.append(reply.usage.prefill_tokens)
    assert costs == [len(shared) + 3, len(shared) + 3, 2]
    engine.close()


class Faulty(CausalNetwork):
    """Fails in the middle of a pass of several rows, after the first layers changed states."""

    fail = False

    def forward(self, ids: Any, batch: Any, cache: Any, *, last_only: bool) -> Any:
        outputs = super().forward(ids, batch, cache, last_only=last_only)
        if self.fail and len(ids) > 1:
            raise RuntimeError("no memory for so many rows")
        return outputs


@pytest.mark.parametrize("family", ["jamba", "qwen3_next", "nemotron_h"])
async def test_after_a_failed_pass_rows_continue_from_their_snapshots(family: str) -> None:
    model = hybrid(family)
    network = Faulty(model)
    engine = Engine(network, tokenizer=tiny.tokenizer(), slots=4, max_context=200)
    jobs = [Decode(str(i), ids, 6) for i, ids in enumerate(prompts(4))]
    await engine.decode(jobs)
    network.fail = True
    jobs = [Decode(job.session, (*job.ids, 4, 5, 6), 6) for job in jobs]
    replies = await engine.decode(jobs)
    marked = await engine.prefill(
        [Prefill(f"p{i}", ids, tuple(range(len(ids)))) for i, ids in enumerate(prompts(2))]
    )
    network.fail = False
    for job, reply in zip(jobs, replies, strict=True):
        assert isinstance(reply, Decoded)
        assert list(reply.ids) == from_scratch(model, job, len(reply.ids))
    for ids, read in zip(prompts(2), marked, strict=True):
        assert isinstance(read, Prefilled)
        assert len(read.outputs) == len(ids)
    engine.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_memory_is_as_predicted(family: str) -> None:
    model = hybrid(family)
    network = CausalNetwork(model)
    engine = Engine(network, tokenizer=tiny.tokenizer(), slots=3, max_context=90)
    size = footprint(network)
    await engine.decode([Decode(str(i), ids, 20) for i, ids in enumerate(prompts(3, most=70))])
    used, length = engine.cache_bytes, engine._passes.cache._length
    assert used == size.cache_bytes(3, length)
    assert used <= size.cache_bytes(3, 91)
    assert size.state_bytes > 0
    assert "states of recurrent layers" in engine.describe_cache()
    engine.close()


ATTENDING = {"jamba": 2, "lfm2": 2, "mamba2": 0, "mamba": 0, "nemotron_h": 1, "qwen3_next": 1}


@pytest.mark.parametrize(("family", "layers"), ATTENDING.items())
def test_layers_without_attention_cost_none(family: str, layers: int) -> None:
    """Of four layers; Mamba has no attention heads at all."""
    model = LocalModel(hybrid(family), tiny.tokenizer(), LoadOptions(slots=1, max_context=64))
    assert model.shape.layers == layers
    model.close()


def test_a_model_without_states_keeps_none() -> None:
    size = footprint(CausalNetwork(tiny.causal_model()))
    assert size.state_bytes == 0
    assert size.token_bytes == 3 * 2 * 2 * 16 * 4  # layers, keys and values, heads, size, float32


@pytest.mark.parametrize("family", SINGLE if ALL else ["mamba", "jamba"])
def test_a_family_that_forgets_its_state_in_a_chunk_is_still_read_singly(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When transformers mends it, this fails, and the family joins the others."""
    model = hybrid(family)
    assert reading_of(model) is Reading.SINGLE
    assert output_distance(model) < 1e-4
    monkeypatch.setattr("rsdecode.backends.transformers.families.CHUNKED", {family})
    assert output_distance(model) > 1e-2
