"""Loaded reward models against a plain Hugging Face forward pass over the whole sequence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Context, Message, Segment
from rsdecode.rewards import load_reward_model
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.token_classifier import QWEN_SYSTEM
from tests.rewards import tiny
from tests.rewards.tiny import OPTIONS, PROBLEMS, rewards, steps_of

Reference = Callable[[Score], list[float]]


@contextmanager
def loaded(path: Path, kind: str | None = None, **changes: Any) -> Iterator[PrefixScorer]:
    reward = load_reward_model(str(path), OPTIONS, kind)
    try:
        yield reward
    finally:
        reward.close()


def encode(text: str) -> list[int]:
    return tiny.tokenizer().encode(text, add_special_tokens=False)


def read(pieces: list[list[int]], outputs: Callable[[torch.Tensor], torch.Tensor], count: int):
    """Outputs after the last `count` of `pieces` of one sequence."""
    ids = torch.tensor([[i for piece in pieces for i in piece]])
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)[-count:]
    with torch.no_grad():
        return outputs(ids)[0, ends - 1]


def value_head(folder: Path, kind: str = "qwen2", **options: Any) -> tuple[Path, Reference]:
    path, model, head = tiny.save_value_head(folder, kind, **options)

    def reference(score: Score) -> list[float]:
        pieces = [encode(f"<bos>{score.context.question}\n")]
        pieces += [[*encode(step.strip()), *encode("\n")] for step in steps_of(score)]
        values = read(pieces, lambda ids: head(model(ids).last_hidden_state), len(score.steps))
        return values[:, 0].sigmoid().tolist()

    return path, reference


def qwen_prm(folder: Path, system: str = QWEN_SYSTEM) -> tuple[Path, Reference]:
    path, model, head = tiny.save_qwen_prm(folder)

    def reference(score: Score) -> list[float]:
        steps = [step.strip() for step in steps_of(score)]
        chat = [
            *([{"role": "system", "content": system}] if system else []),
            {"role": "user", "content": score.context.question},
            {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
        ]
        ids = torch.tensor([encode(tiny.tokenizer().apply_chat_template(chat, tokenize=False))])
        with torch.no_grad():
            logits = head(model(ids).last_hidden_state)[ids == encode("<extra_0>")[0]]
        return logits.softmax(-1)[-len(score.steps) :, 1].tolist()

    return path, reference


def token_classifier(folder: Path, column: int = 1, **keys: Any) -> tuple[Path, Reference]:
    path, model = tiny.save_classifier(folder, "token", **keys)

    def reference(score: Score) -> list[float]:
        pieces = [encode("<bos>") + encode(score.context.question)]
        pieces += [[*encode(step.strip()), *encode("\n")] for step in steps_of(score)]
        logits = read(pieces, lambda ids: model(ids).logits, len(score.steps))
        return logits.softmax(-1)[:, column].tolist()

    return path, reference


def pure(folder: Path) -> tuple[Path, Reference]:
    path, model = tiny.save_classifier(folder, "token", rsd_reward=None)

    def reference(score: Score) -> list[float]:
        pieces = [encode("<bos>") + encode(score.context.question)]
        pieces += [[*encode(step.strip()), *encode("\n\n")] for step in steps_of(score)]
        probabilities = read(pieces, lambda ids: model(ids).logits, len(score.steps)).softmax(-1)
        signed = probabilities[:, 1] - probabilities[:, 0]
        return ((signed + 1) / 2).tolist()

    return path, reference


def plus_minus(folder: Path) -> tuple[Path, Reference]:
    path, model = tiny.save_causal(folder)

    def reference(score: Score) -> list[float]:
        pieces = [encode(f"<bos>{score.context.question}")]
        for index, step in enumerate(steps_of(score)):
            lead = "\n" if index else " "
            pieces.append(encode(f"{lead}Step {index + 1}: {step.strip()}ки"))
        logits = read(pieces, lambda ids: model(ids).logits, len(score.steps))
        return logits[:, encode("+") + encode("-")].softmax(-1)[:, 0].tolist()

    return path, reference


def plus_minus_chat(folder: Path) -> tuple[Path, Reference]:
    path, model = tiny.save_causal(folder)

    def reference(score: Score) -> list[float]:
        out: list[float] = []
        chat: list[dict[str, str]] = []
        for index, step in enumerate(steps_of(score)):
            first = f"{score.context.question.strip()} {step.strip()}"
            chat.append({"role": "user", "content": step.strip() if index else first})
            text = tiny.tokenizer().apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
            with torch.no_grad():
                logits = model(torch.tensor([encode(text)])).logits[0, -1]
            out.append(logits[encode("+") + encode("-")].softmax(-1)[0].item())
            chat.append({"role": "assistant", "content": "+"})
        return out[-len(score.steps) :]

    return path, reference


def plus_minus_raw(
    folder: Path, lead: str = " \n\n", mark: str = " \n\n\n\n", space: str = ""
) -> tuple[Path, Reference]:
    path, model = tiny.save_causal(folder)

    def reference(score: Score) -> list[float]:
        pieces = [encode(f"<bos>{score.context.question.strip()}{lead}")]
        pieces += [[*encode(step.strip()), *encode(mark)] for step in steps_of(score)]
        logits = read(pieces, lambda ids: model(ids).logits, len(score.steps))
        return logits[:, encode(f"{space}+") + encode(f"{space}-")].softmax(-1)[:, 0].tolist()

    return path, reference


def math_psa(folder: Path) -> tuple[Path, Reference]:
    return plus_minus_raw(folder / "Math-psa", " ", " \n\n\n\n\n", " ")


def reasonflux_small(folder: Path) -> tuple[Path, Reference]:
    path, model, head = tiny.save_reward_head(folder)

    def reference(score: Score) -> list[float]:
        pieces = [encode(f"<bos>{score.context.question}")]
        for index, step in enumerate(steps_of(score)):
            pieces.append(encode(("\n\n" if index else "") + step.strip()))
        values = read(pieces, lambda ids: head(model(ids).last_hidden_state), len(score.steps))
        return values[:, 0].sigmoid().tolist()

    return path, reference


def outcome(folder: Path, labels: int) -> tuple[Path, Reference]:
    path, model = tiny.save_classifier(folder, "sequence", num_labels=labels)

    def reference(score: Score) -> list[float]:
        out: list[float] = []
        steps = steps_of(score)
        for end in range(len(score.context.answer) + 1, len(steps) + 1):
            chat = [
                {"role": "user", "content": score.context.question},
                {"role": "assistant", "content": "".join(steps[:end])},
            ]
            text = tiny.tokenizer().apply_chat_template(chat, tokenize=False)
            with torch.no_grad():
                logits = model(torch.tensor([encode(text)])).logits[0]
            out.append((logits.sigmoid() if labels == 1 else logits.softmax(-1))[-1].item())
        return out

    return path, reference


CASES: dict[str, tuple[Callable[[Path], tuple[Path, Reference]], str | None]] = {
    "value-head": (value_head, None),
    "value-head under pretrained_model": (
        lambda folder: value_head(folder, prefix="pretrained_model.model."),
        None,
    ),
    "value-head on llama": (lambda folder: value_head(folder, "llama"), None),
    "value-head on gpt2": (lambda folder: value_head(folder, "gpt2", prefix="transformer."), None),
    "qwen-prm": (qwen_prm, None),
    "qwen-prm, ReasonFlux": (lambda folder: qwen_prm(folder / "ReasonFlux-PRM-7B", ""), None),
    "reward-head": (reasonflux_small, None),
    "token-classifier": (token_classifier, None),
    "token-classifier, labels named": (
        lambda folder: token_classifier(folder, 0, id2label={0: "True", 1: "False"}),
        None,
    ),
    "pure": (pure, "pure"),
    "plus-minus": (plus_minus, "plus-minus"),
    "plus-minus-chat": (plus_minus_chat, "plus-minus-chat"),
    "plus-minus-raw": (plus_minus_raw, "plus-minus-raw"),
    "plus-minus-raw, by name": (lambda folder: plus_minus_raw(folder / "VersaPRM"), None),
    "plus-minus-raw, Math-PSA": (math_psa, None),
    "outcome, one label": (lambda folder: outcome(folder, 1), None),
    "outcome, two labels": (lambda folder: outcome(folder, 2), None),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    make, kind = CASES[request.param]
    path, reference = make(tmp_path_factory.mktemp("model"))
    return path, kind, reference


def flat(listed: list[tuple[float, ...]]) -> list[float]:
    return [reward for row in listed for reward in row]


async def test_equals_a_plain_forward_pass_batched_and_alone(case):
    path, kind, reference = case
    expected = flat([tuple(reference(problem)) for problem in PROBLEMS])
    with loaded(path, kind) as reward:
        batched = flat(rewards(await reward.score(PROBLEMS)))
    with loaded(path, kind) as reward:
        alone = flat([rewards(await reward.score([problem]))[0] for problem in PROBLEMS])
    assert batched == pytest.approx(expected, abs=1e-4)
    assert alone == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 0.02, "the test could not tell rewards apart"


async def test_incremental_equals_from_scratch_and_reads_only_what_is_new(case):
    path, kind, _ = case
    question, steps = "How many apples are there?", [f"There are {i}.\n\n" for i in range(8)]
    grown: list[float] = []
    with loaded(path, kind) as reward:
        for end in range(len(steps)):
            ask = tiny.request(question, steps[:end], steps[end : end + 1])
            [reply] = await reward.score([ask])
            grown += rewards([reply])[0]
            if end:
                longest = len(reward.format.step_ids(steps[end], end))
                assert reply.usage.prefill_tokens <= longest + len(reward.format.closing_ids) + 1
                assert reply.usage.cached_tokens > reply.usage.prefill_tokens
            assert reply.usage.calls == 1
    with loaded(path, kind) as reward:
        scratch = flat(rewards(await reward.score([tiny.request(question, [], steps)])))
    assert grown == pytest.approx(scratch, abs=1e-4)


async def test_a_rejected_step_leaves_no_trace(case):
    path, kind, _ = case
    with loaded(path, kind) as reward:
        wrong = tiny.request("How many?", ["One.\n\n"], ["Quite wrong, and long.\n\n"])
        right = tiny.request("How many?", ["One.\n\n"], ["Two.\n\n"])
        await reward.score([wrong])
        [after] = rewards(await reward.score([right]))
    with loaded(path, kind) as reward:
        [fresh] = rewards(await reward.score([right]))
    assert after == pytest.approx(fresh, abs=1e-4)


async def test_value_head_reads_the_original_format_token_for_token(tmp_path):
    """Steps of one line, tokenised as the original `prepare_input` does."""
    path, model, head = tiny.save_value_head(tmp_path / "prm")
    words, question = tiny.tokenizer(), "How many?"
    response = "One.\nTwo and two.\nFour."
    ids, marks = words.encode(words.bos_token + question + "\n"), []
    for line in response.split("\n"):
        ids += [*words.encode(line), words.encode("\n")[-1]]
        marks.append(len(ids) - 1)
    with torch.no_grad():
        expected = head(model(torch.tensor([ids])).last_hidden_state)[0, marks, 0].sigmoid()
    with loaded(path) as reward:
        asked = tiny.request(question, [], response.splitlines(keepends=True))
        [scored] = rewards(await reward.score([asked]))
    assert scored == pytest.approx(expected.tolist(), abs=1e-4)


async def test_reads_a_pytorch_checkpoint_and_a_sharded_one(tmp_path):
    path, reference = value_head(tmp_path / "prm")
    expected = reference(PROBLEMS[0])
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    torch.save(tensors, path / "pytorch_model.bin")
    with loaded(path) as reward:
        [scored] = rewards(await reward.score(PROBLEMS[:1]))
        assert scored == pytest.approx(expected, abs=1e-4)

    (path / "pytorch_model.bin").unlink()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for shard, listed in shards.items():
        save_file({n: tensors[n] for n in listed}, path / shard, metadata={"format": "pt"})
    weight_map = {n: shard for shard, listed in shards.items() for n in listed}
    index = {"metadata": {}, "weight_map": weight_map}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with loaded(path) as reward:
        [scored] = rewards(await reward.score(PROBLEMS[:1]))
        assert scored == pytest.approx(expected, abs=1e-4)


async def test_the_head_stays_in_float32_when_the_backbone_does_not(tmp_path):
    path, model, head = tiny.save_value_head(tmp_path / "prm")
    options = tiny.LoadOptions(device="cpu", dtype="bfloat16", slots=2)
    reward = load_reward_model(str(path), options)
    [scored] = rewards(await reward.score(PROBLEMS[:1]))
    reward.close()
    ids = reward.format.prompt_ids(PROBLEMS[0].context.messages)
    for index, step in enumerate(steps_of(PROBLEMS[0])):
        ids += reward.format.step_ids(step, index)
    with torch.no_grad():
        hidden = model.bfloat16()(torch.tensor([ids])).last_hidden_state[:, -1]
        expected = head(hidden.float()).sigmoid().item()
    assert scored[0] == pytest.approx(expected, abs=0.02)
    assert scored[0] != torch.tensor(scored[0]).bfloat16().item(), "rounded to bfloat16"


def test_shape_counts_the_head_and_no_vocabulary(tmp_path):
    path, model, head = tiny.save_value_head(tmp_path / "prm")
    with loaded(path) as reward:
        shape = reward.shape
    assert shape is not None
    everything = [*model.parameters(), *head.parameters()]
    assert shape.parameters == sum(p.numel() for p in everything)
    assert shape.vocabulary == 0
    assert shape.layers == 2
    assert shape.attention_width == 64


async def test_a_context_beyond_the_window_fails_alone(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path / "prm")
    with loaded(path) as reward:
        long = tiny.request("x" * tiny.CONTEXT, [], ["One."])
        [first, second] = await reward.score([long, PROBLEMS[2]])
    assert isinstance(first, Failed)
    assert str(tiny.CONTEXT) in str(first.error)
    assert rewards([second])


async def test_messages_that_the_template_refuses_fail_alone(tmp_path):
    words = tiny.tokenizer()
    words.chat_template = (
        "{% for m in messages %}{% if 'Be brief.' in m.content %}"
        "{{ raise_exception('not like this') }}{% endif %}{% endfor %}" + tiny.CHAT
    )
    path, _ = tiny.save_classifier(tmp_path / "outcome", "sequence", num_labels=1, words=words)
    asked = Context((Message("system", "Be brief."), Message("user", "How many?")))
    with loaded(path) as reward:
        [refused, fine] = await reward.score([Score(asked, (Segment("One."),)), PROBLEMS[0]])
    assert isinstance(refused, Failed)
    assert "not like this" in str(refused.error)
    assert rewards([fine])


def test_describe_says_where_a_reward_head_is_read(tmp_path):
    path, _, _ = tiny.save_reward_head(tmp_path / "prm")
    with loaded(path) as reward:
        told = reward.describe()
    assert told["kind"] == "reward-head"
    assert told["step mark"] == "none: read at the end of each step"
    assert told["head"] == "the sigmoid of reward_head.pt after the answer so far"


def test_describe_names_kind_mark_and_context(tmp_path):
    path, _, _ = tiny.save_qwen_prm(tmp_path / "prm")
    with loaded(path) as reward:
        told = reward.describe()
    assert told.pop("cache").endswith("MiB for 4 slots of 1024 tokens")
    assert told == {
        "kind": "qwen-prm",
        "step mark": f"<extra_0> (id {encode('<extra_0>')[0]})",
        "label of right steps": "LABEL_1 (id 1 of 2 labels)",
        "context": "1024 tokens",
    }
