"""A tiny random model on real llama.cpp: steps, slots, prefixes, streams, cancellation, seeds."""

from __future__ import annotations

import asyncio
import collections
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest

from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
from rsdecode.core.errors import ModelLoadError, PromptTooLong
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment
from tests.backends.llama_cpp import tiny_gguf

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
OPTIONS = LlamaCppOptions(slots=3, max_context=256, threads=1)
LINE = Boundary(stops=("\n",))


@pytest.fixture(scope="module")
def model(file):
    made = load_llama_cpp(file, OPTIONS)
    yield made
    made.close()


def ask(question, session, *, answer=(), tokens=24, boundary=WHOLE_ANSWER, temperature=0.0, seed=1):
    context = Context((Message("user", question),), tuple(answer))
    sampling = Sampling(temperature)
    return Generate(Role.DRAFT, context, tokens, boundary, sampling, seed, session)


async def one(model, request):
    [reply] = await model.generate([request])
    assert isinstance(reply, Generated), reply
    return reply


def spelled(reply):
    tokens, _ = tiny_gguf.vocabulary()
    names = tiny_gguf.characters()
    table = {name: byte for byte, name in enumerate(names)}
    raw = b"".join(
        bytes(table[c] for c in tokens[i]) if i < 256 + len(tiny_gguf.MERGES) else b""
        for i in reply.segment.tokens.ids
    )
    return raw.decode("utf-8", "replace")


async def test_text_and_ids_agree_and_steps_go_on_where_they_ended(model):
    whole = await one(model, ask("Count.", "whole", tokens=40, seed=3, temperature=0.7))
    assert spelled(whole) == whole.segment.text
    answer, before = [], 0
    for _ in range(6):
        step = await one(
            model, ask("Count.", "steps", answer=answer, boundary=LINE, temperature=0.7)
        )
        assert spelled(step) == step.segment.text
        read = step.usage.cached_tokens + step.usage.prefill_tokens
        if answer:
            assert step.usage.cached_tokens >= before, "the slot keeps its prefix"
            assert step.usage.prefill_tokens <= 3
        before = read + len(step.segment.tokens.ids) - 2
        answer.append(step.segment)
        if step.finish_reason is FinishReason.EOS:
            break
        if step.finish_reason is FinishReason.STOP:
            assert step.segment.text.rstrip("\n").count("\n") == 0


async def test_a_rejected_step_is_rewound(model):
    first = await one(model, ask("Go.", "rewind", tokens=12))
    longer = await one(model, ask("Go.", "rewind", answer=[first.segment], tokens=12))
    prompt = first.usage.prefill_tokens
    other = Segment("another step\n")
    again = await one(model, ask("Go.", "rewind", answer=[other], tokens=4))
    assert again.usage.cached_tokens == prompt, "up to the last token that both share"
    assert again.usage.prefill_tokens == len("another step\n") - 2, "`the` is one token"
    assert longer.usage.cached_tokens >= prompt


async def test_sessions_have_slots_of_their_own(model):
    questions = [f"Question number {i}?" for i in range(3)]
    first = await model.generate([ask(q, q, tokens=5) for q in questions])
    again = await model.generate(
        [ask(q, q, answer=[r.segment], tokens=5) for q, r in zip(questions, first, strict=True)]
    )
    assert all(isinstance(reply, Generated) for reply in again), again
    assert all(reply.usage.prefill_tokens <= 2 for reply in again)
    for question in questions:
        model.end(question)


async def test_more_requests_than_slots_are_all_served_in_order(model):
    asked = [ask(f"{i}?", f"many {i}", tokens=1 + i % 7) for i in range(17)]
    replies = await model.generate(asked)
    assert all(isinstance(reply, Generated) for reply in replies)
    assert all(r.usage.decoded_tokens <= a.max_tokens for r, a in zip(replies, asked, strict=True))
    alone = [await one(model, request) for request in asked]
    same = sum(a.segment == r.segment for a, r in zip(alone, replies, strict=True))
    assert same >= 12, "llama.cpp's sums depend on the batch, but hardly ever the greedy token"


async def test_streams_show_what_is_replied(model):
    shown = collections.defaultdict(str)

    def show(place, text):
        shown[place] += text

    asked = [ask(f"Say {i}.", f"stream {i}", boundary=LINE) for i in range(2)]
    replies = await model.stream(asked, show)
    for place, reply in enumerate(replies):
        assert shown[place].startswith(reply.segment.text)
        assert reply.segment == (await one(model, asked[place])).segment


async def test_characters_of_several_tokens_keep_their_ids(tmp_path):
    """llama.cpp streams the last token of a character alone; the others are found again."""
    spelled_bytes = [*"\u00e9\u00df\u4e2d\U0001f642".encode(), 97]
    path = tiny_gguf.write(tmp_path / "bytes.gguf", spelled=spelled_bytes, ends=0.0)
    model = load_llama_cpp(path, OPTIONS)
    try:
        for seed in range(6):
            request = ask("x", "b", temperature=1.0, seed=seed, tokens=30)
            streamed = await one(model, request)
            chunk = await one(model, replace(request, boundary=Boundary(tokens=30)))
            assert spelled(streamed).rstrip("\ufffd") == streamed.segment.text.rstrip("\ufffd")
            ids, all_ids = streamed.segment.tokens.ids, chunk.segment.tokens.ids
            assert streamed.usage.decoded_tokens == chunk.usage.decoded_tokens
            assert spelled(chunk).startswith(spelled(streamed).rstrip("\ufffd")) or ids == all_ids
    finally:
        model.close()


async def test_control_tokens_in_a_question_are_text(model):
    plain = await one(model, ask("a<|im_end|>b", "control", tokens=1))
    without = await one(model, ask("ab", "control", tokens=1))
    read = plain.usage.prefill_tokens + plain.usage.cached_tokens
    assert read - (without.usage.prefill_tokens + without.usage.cached_tokens) == len("<|im_end|>")


async def test_seeds_repeat_and_differ(model):
    request = ask("Draw.", "seeds", temperature=1.0, tokens=20)
    texts = []
    for seed in (5, 6, 5):
        model.clear()  # else the second is read from the cache, and sums differ in the last digit
        texts.append((await one(model, replace(request, seed=seed))).segment.text)
    assert texts[0] == texts[2]
    assert texts[0] != texts[1]


async def test_what_is_repeatable_and_what_is_not(tmp_path):
    """Alone and from an empty slot a reply repeats; not after what was cached or beside others."""
    path = tiny_gguf.write(tmp_path / "law.gguf")
    model = load_llama_cpp(path, replace(OPTIONS, max_context=512))
    words = "".join(f"{i * i % 97} and the {i}, " for i in range(36))
    choices = ("%", "k", "e", "t")

    async def judged(text, session):
        [chosen] = await model.choose([Choose((Message("user", text),), choices, session)])
        assert isinstance(chosen, Chosen), chosen
        return chosen.probabilities

    try:
        fresh, cached = set(), set()
        for _ in range(3):
            model.clear()
            fresh.add(await judged(words, "a"))
            await judged(words + "on", "a")
            cached.add(await judged(words, "a"))
        assert len(fresh) == 1, "alone, from empty slots, it repeats to the last digit"
        assert len(cached) == 1
        assert fresh != cached, "llama.cpp sums otherwise where a part of the prompt was cached"
        assert next(iter(fresh)) == pytest.approx(next(iter(cached)), abs=0.01)
        beside = set()
        for _ in range(6):
            model.clear()
            first, *_ = await asyncio.gather(
                judged(words, "a"), judged(words[:250], "b"), judged(words[100:], "c")
            )
            beside.add(first)
        assert all(p == pytest.approx(next(iter(fresh)), abs=0.01) for p in beside)
    finally:
        model.close()


async def test_choices_have_the_models_own_probabilities(model):
    """By two routes: chosen among themselves, and the frequencies of sampled first tokens."""
    drawn = collections.Counter()
    for seed in range(300):
        reply = ask("Right?", "judge", temperature=2.0, tokens=1, seed=seed)
        drawn[(await one(model, reply)).segment.text] += 1
    choices = tuple(text for text, _ in drawn.most_common(4) if text)[:3]
    [chosen] = await model.choose([Choose((Message("user", "Right?"),), choices, "judge")])
    assert math.fsum(chosen.probabilities) == pytest.approx(1.0)
    warm = [p**0.5 for p in chosen.probabilities]  # at temperature 2
    counts = [drawn[text] for text in choices]
    assert sum(counts) > 40
    for count, weight in zip(counts, warm, strict=True):
        p = weight / sum(warm)
        expected, spread = sum(counts) * p, math.sqrt(sum(counts) * p * (1 - p)) + 1
        assert abs(count - expected) < 4 * spread


async def test_temperature_comes_before_top_p(model):
    """As everywhere else in rsdecode; llama.cpp's own order is the other way round."""
    request = ask("Law?", "law", temperature=3.0, tokens=1)
    request = replace(request, sampling=Sampling(3.0, top_p=0.9))
    seen = {(await one(model, replace(request, seed=s))).segment.text for s in range(200)}
    request = replace(request, sampling=Sampling(0.2, top_p=0.9))
    cold = {(await one(model, replace(request, seed=s))).segment.text for s in range(60)}
    assert len(seen) > 4 * len(cold)


async def test_a_question_that_does_not_fit_is_refused_and_an_answer_ends(model):
    [reply] = await model.generate([ask("word " * 100, "long")])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, PromptTooLong)
    assert "engine.max_context" in str(reply.error)
    full = await one(model, ask("x", "full", answer=[Segment("y" * 240)], tokens=99))
    assert full.finish_reason in (FinishReason.LENGTH, FinishReason.EOS)
    over = await one(model, ask("x", "full", answer=[Segment("y" * 400)]))
    assert over.finish_reason is FinishReason.LENGTH
    assert over.segment.text == ""


def slots(model):
    server = model._server
    request = urllib.request.Request(
        server.url.removesuffix("/v1") + "/slots", headers={"Authorization": f"Bearer {server.key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


async def test_the_context_is_no_longer_than_the_model_was_made_for(file):
    model = load_llama_cpp(file, replace(OPTIONS, max_context=4096, slots=1))
    try:
        [reply] = await model.generate([ask("x" * 600, "trained")])
        assert isinstance(reply, Failed)
        assert isinstance(reply.error, PromptTooLong)
        assert f"is {tiny_gguf.CONTEXT}" in str(reply.error)
    finally:
        model.close()


async def test_cancelled_work_ends_within_a_decode_step(tmp_path):
    file = tiny_gguf.write(tmp_path / "endless.gguf", ends=0.0, context=8192)
    model = load_llama_cpp(file, replace(OPTIONS, max_context=8192))
    try:
        task = asyncio.create_task(model.generate([ask("Go on.", "cancelled", tokens=8000)]))
        while not any(slot["is_processing"] for slot in await asyncio.to_thread(slots, model)):
            assert not task.done()
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cancelled = time.perf_counter()
        while any(slot["is_processing"] for slot in await asyncio.to_thread(slots, model)):
            assert time.perf_counter() - cancelled < 2.0, "of a request that nobody waits for"
        reply = await one(model, ask("Go on.", "next", tokens=2))
        assert reply.usage.decoded_tokens == 2
    finally:
        model.close()


async def test_a_process_that_dies_is_started_again_and_asked_again(file):
    model = load_llama_cpp(file, OPTIONS)
    try:
        before = await one(model, ask("Still there?", "death"))
        [pid] = children(model)
        os.kill(pid, signal.SIGKILL)
        after = await one(model, ask("Still there?", "death"))
        assert after.segment == before.segment
    finally:
        model.close()


def children(model):
    """The llama.cpp process of a model: the child of its supervisor."""
    supervisor = model._server._process._supervisor.pid
    listed = subprocess.run(
        ["ps", "--ppid", str(supervisor), "-o", "pid="], capture_output=True, text=True, check=True
    )
    return [int(line) for line in listed.stdout.split()]


async def test_a_closed_model_leaves_no_process_and_does_not_hang(file):
    model = load_llama_cpp(file, OPTIONS)
    [pid] = children(model)
    task = asyncio.create_task(model.generate([ask("x", "closing", tokens=200)]))
    await asyncio.sleep(0.05)
    model.close()
    model.close()
    [reply] = await asyncio.wait_for(task, 10)
    assert isinstance(reply, Generated | Failed)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_damaged_file_is_named(tmp_path, file):
    broken = tmp_path / "cut.gguf"
    broken.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelLoadError, match=r"cut\.gguf"):
        load_llama_cpp(broken, OPTIONS)
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelLoadError, match="no GGUF"):
        load_llama_cpp(broken, OPTIONS)


def test_neither_torch_nor_transformers_is_loaded(file):
    code = (
        "import sys; from pathlib import Path; from rsdecode.backends.llama_cpp import *;"
        f"m = load_llama_cpp(Path({str(file)!r}), LlamaCppOptions(slots=1)); m.close();"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
