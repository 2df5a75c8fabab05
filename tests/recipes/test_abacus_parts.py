"""The parts of the recipe, each on its own."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from recipes.abacus import checkpoint  # noqa: E402
from recipes.abacus.attention import use_fast_attention, use_standard_attention  # noqa: E402
from recipes.abacus.calibrate import fit  # noqa: E402
from recipes.abacus.config import DEFAULT, TINY, Schedule  # noqa: E402
from recipes.abacus.data import IGNORED, batches, draw_problems, language_example  # noqa: E402
from recipes.abacus.growth import grow, pool_errors  # noqa: E402
from recipes.abacus.negatives import corrupt, replaced_example, reward_example  # noqa: E402
from recipes.abacus.network import (  # noqa: E402
    language_model,
    parameter_count,
    reward_network,
)
from recipes.abacus.optimiser import rate_at  # noqa: E402
from recipes.abacus.prm import score_steps  # noqa: E402
from recipes.abacus.quality import area_under_curve, reliability  # noqa: E402
from recipes.abacus.sample import Sampling, Writer, continue_texts  # noqa: E402
from recipes.abacus.tokenizer import EOS, build_tokenizer  # noqa: E402
from rsdecode.models.abacus import first_error, problems  # noqa: E402

TOKENIZER = build_tokenizer()
COMPACT = build_tokenizer(compact=True)
PROBLEMS = problems("train", limit=20)


def test_the_family_has_the_sizes_that_make_rsd_pay() -> None:
    sizes = {
        "draft": parameter_count(language_model(DEFAULT.draft, COMPACT, 0)),
        "target": parameter_count(language_model(DEFAULT.target, COMPACT, 0)),
        "prm": parameter_count(reward_network(DEFAULT.prm, COMPACT, 0)),
    }
    assert sizes["target"] >= 20 * sizes["draft"]
    assert sizes["target"] >= 8 * sizes["prm"]
    assert 2 * sum(sizes.values()) < 19e6


def test_data_is_a_pure_function_of_the_update() -> None:
    assert draw_problems(0, "draft", 7, 10) == draw_problems(0, "draft", 7, 10)
    assert draw_problems(0, "draft", 7, 10) != draw_problems(0, "draft", 8, 10)
    assert draw_problems(0, "draft", 7, 10) != draw_problems(0, "target", 7, 10)
    assert sorted(p.level for p in draw_problems(3, "prm", 1, 10)) == sorted([1, 2, 3, 4, 5] * 2)


def test_only_the_solution_is_predicted() -> None:
    problem = PROBLEMS[0]
    example = language_example(problem, TOKENIZER)
    predicted = [target for target in example.targets if target != IGNORED]
    assert TOKENIZER.decode(predicted) == "\n\n".join(problem.steps) + EOS
    first = next(i for i, target in enumerate(example.targets) if target != IGNORED)
    assert TOKENIZER.decode(example.tokens[: first + 1]) == f"<|bos|>{problem.question}\n"


def test_batches_hold_every_example_once_and_respect_the_budget() -> None:
    examples = [language_example(problem, TOKENIZER) for problem in PROBLEMS]
    parts = batches(examples, 0, 600, torch.device("cpu"))
    assert sum(len(part.tokens) for part in parts) == len(examples)
    assert all(part.tokens.numel() <= 600 or len(part.tokens) == 1 for part in parts)
    total = sum(int((part.targets >= 0).sum()) for part in parts)
    assert total == sum(target >= 0 for example in examples for target in example.targets)


@given(st.sampled_from(PROBLEMS), st.integers())
@settings(max_examples=80, deadline=None)
def test_corrupted_solutions_are_wrong_in_their_last_step_only(problem, seed: int) -> None:
    steps = corrupt(problem, Random(seed))
    assert first_error(problem, steps) == len(steps) - 1


@given(st.sampled_from(PROBLEMS), st.integers())
@settings(max_examples=50, deadline=None)
def test_reward_labels_turn_at_the_first_wrong_token(problem, seed: int) -> None:
    steps = corrupt(problem, Random(seed))
    example = reward_example(problem, steps, True, TOKENIZER)
    at_marks = [label for label, m in zip(example.labels, example.marks, strict=True) if m]
    assert at_marks == [1.0] * (len(steps) - 1) + [0.0]
    first_wrong = example.labels.index(0.0)
    gold = reward_example(problem, problem.steps[: len(steps)], False, TOKENIZER)
    assert example.tokens[:first_wrong] == gold.tokens[:first_wrong]
    assert example.tokens[first_wrong] != gold.tokens[first_wrong] or example.marks[first_wrong]
    assert set(example.labels[first_wrong:]) <= {0.0, -1.0}
    marks = [t for t, m in zip(example.tokens, example.marks, strict=True) if m]
    assert TOKENIZER.decode(marks) == "\n" * len(steps)
    wrong_from = next(i for i in range(first_wrong, 0, -1) if example.marks[i - 1] or i == 1)
    assert all(target == IGNORED for target in example.targets[wrong_from:]), (
        "a wrong step teaches no tokens"
    )


@given(st.sampled_from(PROBLEMS), st.integers())
@settings(max_examples=50, deadline=None)
def test_replaced_digits_are_labelled_one_by_one(problem, seed: int) -> None:
    example = replaced_example(problem, Random(seed), TOKENIZER, share=0.3)
    gold = reward_example(problem, problem.steps, False, TOKENIZER)
    assert not any(example.marks)
    for token, label, right, known in zip(
        example.tokens, example.labels, gold.tokens, gold.labels, strict=True
    ):
        assert (label == -1.0) == (known == -1.0)
        assert (label == 0.0) == (token != right)
        if label == 0.0:
            words = TOKENIZER.convert_ids_to_tokens([token, right])
            assert all(word.lstrip("Ġ").isdigit() for word in words)
            assert words[0].startswith("Ġ") == words[1].startswith("Ġ")


def test_a_grown_prm_predicts_what_the_draft_predicts() -> None:
    draft = language_model(TINY.draft, TOKENIZER, 0)
    network = reward_network(TINY.prm, TOKENIZER, 1)
    grow(network, draft.state_dict())
    tokens = torch.randint(0, 400, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = draft(input_ids=tokens).logits
        assert torch.allclose(network(tokens).words, plain, atol=1e-4)


def test_the_pooling_layer_lowers_the_value_after_a_low_one() -> None:
    smaller = reward_network(DEFAULT.prm_digits, TOKENIZER, 0)
    with torch.no_grad():
        smaller.v_head.summary.weight *= 20
    network = reward_network(DEFAULT.prm, TOKENIZER, 0)
    grow(network, smaller.state_dict())
    tokens = torch.randint(0, 400, (64, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(tokens).values
        pool_errors(network)
        after = network(tokens).values
    change = after[:, -1] - before[:, -1]
    order = before.min(1).values.argsort()
    assert change[order[:16]].mean() < change[order[-16:]].mean()


def test_the_rate_rises_holds_and_ends_at_zero() -> None:
    schedule = Schedule(100, 1, 1.0, warmup=10, decay_from=0.5)
    assert rate_at(0, schedule) == pytest.approx(0.1)
    assert rate_at(30, schedule) == 1.0
    assert rate_at(75, schedule) == pytest.approx(0.5)
    assert rate_at(99, schedule) == pytest.approx(0.02)


def test_after_a_restart_the_rate_goes_through_the_same_motions() -> None:
    once = Schedule(50, 1, 1.0, warmup=5)
    thrice = Schedule(150, 1, 1.0, warmup=5, restarts=(50, 100))
    rates = [rate_at(update, once) for update in range(50)]
    assert [rate_at(update, thrice) for update in range(150)] == rates * 3


def test_fast_attention_gives_what_the_standard_one_gives() -> None:
    model = language_model(DEFAULT.target, TOKENIZER, 0)
    tokens = torch.randint(0, 400, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(input_ids=tokens).logits
        use_fast_attention(model)
        fast = model(input_ids=tokens, use_cache=False).logits
        use_standard_attention(model)
    assert torch.allclose(plain, fast, atol=1e-4)


def test_sampling_in_a_batch_is_sampling_alone() -> None:
    writer = Writer(language_model(TINY.target, TOKENIZER, 0), TOKENIZER)
    texts = [f"<|bos|>{problem.question}\n" for problem in PROBLEMS[:6]]
    together = continue_texts(writer, texts, Sampling(max_tokens=12), 0)
    alone = [continue_texts(writer, [t], Sampling(max_tokens=12), 0)[0] for t in texts]
    assert together == alone


def test_scores_do_not_depend_on_the_batch() -> None:
    network = reward_network(TINY.prm, TOKENIZER, 0)
    examples = [reward_example(p, p.steps, False, TOKENIZER) for p in PROBLEMS[:7]]
    together = score_steps(network, examples, rows=4)
    for example, problem, scores in zip(examples, PROBLEMS, together, strict=False):
        assert len(scores) == len(problem.steps)
        assert scores == pytest.approx(score_steps(network, [example])[0], abs=1e-4)


def test_calibration_recovers_scale_and_shift() -> None:
    generator = torch.Generator().manual_seed(0)
    true = 3 * torch.randn(20_000, generator=generator)
    right = torch.rand(20_000, generator=generator) < torch.sigmoid(true)
    scale, shift = fit(((true - 1) / 2).tolist(), right.tolist())
    assert scale == pytest.approx(2, rel=0.1)
    assert shift == pytest.approx(1, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_the_area_under_the_curve_counts_pairs(pairs: list[tuple[int, bool]]) -> None:
    scores = [float(score) for score, _ in pairs]
    right = [good for _, good in pairs]
    wins = [
        (a > b) + 0.5 * (a == b)
        for a, good in zip(scores, right, strict=True)
        for b, other in zip(scores, right, strict=True)
        if good and not other
    ]
    area = area_under_curve(scores, right)
    assert area == pytest.approx(sum(wins) / len(wins)) if wins else math.isnan(area)


def test_reliability_rows_hold_every_step_once() -> None:
    rewards = [0.0, 0.05, 0.5, 0.99, 1.0]
    rows = reliability(rewards, [False, True, True, True, True])
    assert [row[2] for row in rows] == [2, 1, 2]
    assert rows[0][3:] == (0.025, 0.5)


def test_a_checkpoint_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "run.pt"
    assert checkpoint.load(path) is None
    checkpoint.save(path, {"updates": 1})
    checkpoint.save(path, {"updates": 2})
    (tmp_path / "run.123.part").write_bytes(b"half a checkpo")
    assert checkpoint.load(path) == {"updates": 2}
    assert [file.name for file in tmp_path.glob("*.pt")] == ["run.pt"]
