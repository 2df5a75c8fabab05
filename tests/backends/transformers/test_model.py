from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from rsdecode import RSD, FinishReason, Problem, Role, drive
from rsdecode.backends.scripted import ScriptedReward
from rsdecode.backends.transformers.load import LoadOptions, resolve_device
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.errors import ModelLoadError, PromptTooLong, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Choose, Chosen, Models
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Context, Message, Segment, Tokens
from rsdecode.core.weighting import Constant
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from tests.backends.transformers import tiny
from tests.text import tokenizers

QUESTION = (Message("user", "How much is the sum?"),)


def local(name: str = "qwen2", *, chat: bool = False, **options: Any) -> LocalModel:
    given = LoadOptions(**{"slots": 4, **options})
    return LocalModel(tiny.causal_model(name), tiny.tokenizer(chat=chat), given)


def ids_of(context: Context, *, chat: bool = False, **options: Any) -> tuple[int, ...]:
    model = local(chat=chat, **options)
    model.close()
    return model._prompts.context_ids(context)


def test_the_chat_template_opens_the_assistants_turn() -> None:
    messages = (Message("system", "Be brief."), *QUESTION)
    text = "[system] Be brief.\n[user] How much is the sum?\n[assistant] "
    assert ids_of(Context(messages), chat=True) == tuple(tiny.tokenizer().encode(text))


def test_the_plain_prompt() -> None:
    messages = (Message("system", "Be brief."), *QUESTION)
    ids = ids_of(Context(messages), plain_prompt="Q: {question}\nA:")
    assert ids == tuple(tiny.tokenizer().encode("Be brief.\n\nQ: How much is the sum?\nA:"))


def test_own_tokens_are_kept_and_foreign_text_is_tokenised() -> None:
    model = local()
    odd = Segment("the", Tokens(model.vocabulary, tuple(tiny.tokenizer().encode("t"))))
    foreign = Segment("the", Tokens("another vocabulary", (1, 2, 3)))
    prompt = ids_of(Context(QUESTION))
    ids = ids_of(Context(QUESTION).followed_by(odd, foreign))
    assert ids[len(prompt) :] == (*tiny.tokenizer().encode("t"), *tiny.tokenizer().encode("the"))
    model.close()


async def test_errors_of_single_requests() -> None:
    model = local(max_context=60, plain_prompt="{question}")
    long = Context((Message("user", "x" * 60),))
    full = Context(QUESTION).followed_by(Segment("y" * 60))
    broken = Context((Message("user", "\ud800"),))
    requests = [Generate(Role.DRAFT, c, 4) for c in (long, broken, full, Context(QUESTION))]
    too_long, not_text, context_full, fine = await model.generate(requests)
    assert isinstance(not_text, Failed)
    assert "surrogates" in str(not_text.error)
    assert isinstance(too_long, Failed)
    assert isinstance(too_long.error, PromptTooLong)
    assert "60 tokens long" in str(too_long.error)
    assert isinstance(context_full, Generated)
    assert context_full.finish_reason is FinishReason.LENGTH
    assert isinstance(fine, Generated)
    model.close()


async def test_a_template_that_refuses_the_messages_fails_its_request() -> None:
    tokenizer = tiny.tokenizer(chat=True)
    tokenizer.chat_template = (
        "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no!') }}{% endif %}"
        "{{ messages[-1].content }}"
    )
    model = LocalModel(tiny.causal_model(), tokenizer, LoadOptions(slots=2))
    refused, fine = await model.generate(
        [
            Generate(Role.DRAFT, Context((*QUESTION, Message("assistant", "Two."))), 4),
            Generate(Role.DRAFT, Context(QUESTION).followed_by(Segment("So")), 4),
        ]
    )
    assert isinstance(refused, Failed)
    assert "no!" in str(refused.error)
    assert isinstance(fine, Generated)
    model.close()


async def test_choices_have_the_probabilities_of_the_next_token() -> None:
    model = local(plain_prompt="This is not for judges: {question}")
    chosen, refused = await model.choose([Choose(QUESTION, ("0", "1")), Choose(QUESTION, ("10",))])
    ids = tiny.tokenizer().encode(QUESTION[0].content)
    with torch.inference_mode():
        logits = tiny.causal_model()(torch.tensor([ids])).logits[0, -1]
    zero, one = tiny.tokenizer().encode("0")[0], tiny.tokenizer().encode("1")[0]
    assert isinstance(chosen, Chosen)
    expected = logits[[zero, one]].softmax(-1).tolist()
    assert chosen.probabilities == pytest.approx(expected, abs=1e-5)
    assert chosen.usage.prefill_tokens == len(ids)
    assert isinstance(refused, Failed)
    assert isinstance(refused.error, RequestError)
    assert "'10' is 2 tokens" in str(refused.error)
    model.close()


def rsd(weight: float, temperature: float, boundary: Boundary = Boundary(tokens=6)) -> RSD:
    return RSD(
        weighting=Constant(weight),
        boundary=boundary,
        limits=Limits(max_steps=10, max_step_tokens=20),
        draft_sampling=Sampling(temperature),
        target_sampling=Sampling(temperature),
    )


def problems(count: int) -> list[Problem]:
    return [Problem.ask("Why? " * (1 + i % 7), id=str(i)) for i in range(count)]


def three_models(**options: Any) -> Models:
    return Models(
        local("qwen2", **options),
        local("llama", **options),
        ScriptedReward(lambda score: 0.9),
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_sixteen_problems_at_once_equal_one_by_one(temperature: float) -> None:
    models = three_models(slots=5)
    method = rsd(0.6, temperature)
    session = Session(models)
    together = {t.problem.id: t async for t in session.run(Job(p, method, 3) for p in problems(16))}
    models.close()
    fresh = three_models(slots=1)
    for problem in problems(16):
        single = await _one(fresh, method, problem)
        assert single.text == together[problem.id].text
        assert [s.source for s in single.steps] == [s.source for s in together[problem.id].steps]
    fresh.close()
    sources = {step.source for t in together.values() for step in t.steps}
    assert sources == {Role.DRAFT, Role.TARGET}


async def _one(models: Models, method: RSD, problem: Problem) -> Any:
    [trajectory] = [t async for t in Session(models).run([Job(problem, method, 3)])]
    return trajectory


def test_prefix_reuse_over_ten_steps() -> None:
    """The draft computes the prompt once, and later only what the target wrote, within 5 %.

    The 5 % are the last tokens of its own steps: sampled, but computed only when it goes on.
    """
    models = three_models()
    problem = Problem.ask("Why? " * 20)
    method = rsd(0.6, 1.0, Boundary(tokens=16))
    trajectory = drive(method(problem, seed=0), models)
    models.close()
    assert len(trajectory.steps) == 10
    by_target = [step for step in trajectory.steps[:-1] if step.source is Role.TARGET]
    assert 2 <= len(by_target) <= 7
    foreign = sum(step.token_count for step in by_target)
    draft = trajectory.ledger.draft
    assert draft.prefill_tokens <= 1.05 * (len(ids_of(Context(problem.messages))) + foreign)
    assert draft.cached_tokens > 4 * draft.prefill_tokens


def test_the_same_model_in_both_roles_gives_its_own_greedy_answer() -> None:
    """w = 0 and w = 1 with one model as draft and target: plain greedy decoding, step by step."""
    [problem] = problems(1)
    ids = ids_of(Context(problem.messages))
    expected = tiny.greedy(tiny.causal_model(), ids, 60)
    for weight in (0.0, 0.5, 1.0):
        model = local()
        models = Models(model, model, ScriptedReward(lambda score: 0.9))
        trajectory = drive(rsd(weight, 0.0)(problem, seed=1), models)
        models.close()
        written = [i for s in trajectory.steps for i in (s.segment.tokens or Tokens("", ())).ids]
        assert written == expected[: len(written)]
        assert len(written) == 60 or trajectory.stop_reason is FinishReason.EOS


def test_load_from_a_folder(tmp_path: Path) -> None:
    tiny.causal_model().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model = load_model(str(tmp_path), LoadOptions(device="cpu"))
    description = model.describe()
    model.close()
    assert description["end of sequence"] == "<eos>"
    assert description["context"] == "512 tokens"
    assert description["device"] == "cpu, float32"
    assert model.shape.parameters == sum(p.numel() for p in tiny.causal_model().parameters())
    assert model.shape.tied


def test_folders_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="does not exist"):
        load_model(str(tmp_path / "nowhere"))
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        load_model(str(tmp_path))
    tiny.causal_model().config.save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        load_model(str(tmp_path))
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"weights"):
        load_model(str(tmp_path))


def test_a_checkpoint_with_missing_weights(tmp_path: Path) -> None:
    model = tiny.causal_model()
    weights = {k: v for k, v in model.state_dict().items() if "layers.1.mlp" not in k}
    model.save_pretrained(tmp_path, state_dict=weights)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"lacks 3 weights, .*layers\.1\.mlp"):
        load_model(str(tmp_path))


def test_a_tokenizer_without_an_end(tmp_path: Path) -> None:
    model = tiny.causal_model()
    model.config.eos_token_id = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ModelLoadError, match="no end-of-sequence token"):
        LocalModel(model, tiny.tokenizer(eos=False), name="m")


def test_options_are_checked() -> None:
    with pytest.raises(ModelLoadError, match="unknown device 'abc'"):
        resolve_device("abc")
    with pytest.raises(ValueError, match="unknown dtype 'float8'"):
        LoadOptions(dtype="float8")
    with pytest.raises(ValueError, match="slots 0"):
        LoadOptions(slots=0)
    with pytest.raises(ValueError, match="question"):
        LoadOptions(plain_prompt="no place for it")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ModelLoadError, match="not available here"):
        resolve_device("cuda:0")


async def test_steps_end_at_the_separator() -> None:
    model = local()
    requests = [
        Generate(Role.DRAFT, Context(p.messages), 60, PARAGRAPH, Sampling(1.0), seed=i)
        for i, p in enumerate(problems(40))
    ]
    for reply in await model.generate(requests):
        assert isinstance(reply, Generated)
        tokens = reply.segment.tokens
        assert tokens is not None
        text = tiny.tokenizer().decode(list(tokens.ids))
        assert text.rstrip("\ufffd") == reply.segment.text.rstrip("\ufffd")
        if reply.finish_reason is FinishReason.STOP:
            assert PARAGRAPH.end(reply.segment.text) is not None
    model.close()


def chat_model(template: str | None, **generation: Any) -> LocalModel:
    """A random model whose tokenizer has the control tokens of chats."""
    words = tokenizers.byte_level(template)
    torch.manual_seed(0)
    config = Qwen2Config(**{**tiny.SHAPE, "vocab_size": len(words), "eos_token_id": None})
    model = AutoModelForCausalLM.from_config(config).eval()
    model.generation_config.eos_token_id = generation.get("eos")
    return LocalModel(model, words, LoadOptions(slots=4), name="chatty")


async def test_the_token_that_ends_turns_ends_answers() -> None:
    model = chat_model(tokenizers.CHATML)
    asked = [
        Generate(Role.DRAFT, Context(QUESTION), 300, sampling=Sampling(9.0), seed=seed)
        for seed in range(8)
    ]
    replies = await model.generate(asked)
    end = tokenizers.byte_level().convert_tokens_to_ids("<|im_end|>")
    written = [reply for reply in replies if isinstance(reply, Generated)]
    assert len(written) == 8
    assert all(end not in (reply.segment.tokens or Tokens("", ())).ids for reply in written)
    assert FinishReason.EOS in {reply.finish_reason for reply in written}
    assert model.describe()["end of sequence"] == "<eos>, <|im_end|>"
    [note] = model.notes
    assert note.startswith("chatty: ")
    assert "ends turns with <|im_end|>, which the checkpoint does not list" in note
    assert '"eos_token_id": [264, 266]' in note
    model.close()


@pytest.mark.parametrize(
    ("template", "eos", "ends"),
    [
        (None, None, "<eos>"),  # a base model
        (None, [265], "<eos>, <|im_start|>"),
        (tokenizers.CHATML, [266], "<eos>, <|im_end|>"),
        (tokenizers.DROPS_SYSTEM, None, "<eos>"),
    ],
)
def test_ends_that_the_checkpoint_states_are_no_news(
    template: str | None, eos: list[int] | None, ends: str
) -> None:
    model = chat_model(template, eos=eos)
    assert model.describe()["end of sequence"] == ends
    assert model.notes == ()
    model.close()


async def test_a_refused_system_message_is_noted_and_heard() -> None:
    model = chat_model(tokenizers.REFUSES_SYSTEM, eos=[266])
    messages = (Message("system", "Be kind."), *QUESTION)
    [reply] = await model.generate([Generate(Role.DRAFT, Context(messages), 4)])
    assert isinstance(reply, Generated)
    [note] = Models(model, model).notes()
    assert note.startswith("chatty: the chat template refuses system messages")
    model.close()
