from __future__ import annotations

import math
import random

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from rsdecode.backends.transformers.sampling import INVALID, distribution, inverse, sample
from rsdecode.core.requests import Sampling

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def frequencies(options: Sampling, draws: int = 20_000) -> list[int]:
    draw = random.Random(3)
    counts = [0] * len(LOGITS)
    for token in sample(
        LOGITS.expand(draws, -1), [options] * draws, [draw.random() for _ in range(draws)]
    ):
        counts[token] += 1
    return counts


def probabilities(temperature: float, kept: list[int]) -> list[float]:
    weights = [
        math.exp(x / temperature) if i in kept else 0.0 for i, x in enumerate(LOGITS.tolist())
    ]
    return [weight / sum(weights) for weight in weights]


def check(options: Sampling, kept: list[int]) -> None:
    counts = frequencies(options)
    expected = [p * sum(counts) for p in probabilities(options.temperature, kept)]
    assert all(count == 0 for i, count in enumerate(counts) if i not in kept)
    assert chisquare([counts[i] for i in kept], [expected[i] for i in kept]).pvalue > 0.001


def test_greedy() -> None:
    rows = torch.stack([LOGITS, LOGITS.flip(0)])
    assert sample(rows, [Sampling(), Sampling()], [0.9, 0.9]) == [0, 5]


def test_temperature() -> None:
    check(Sampling(1.0), [0, 1, 2, 3, 4, 5])
    check(Sampling(0.5), [0, 1, 2, 3, 4, 5])


def test_top_k() -> None:
    check(Sampling(1.0, top_k=3), [0, 1, 2])
    check(Sampling(1.0, top_k=99), [0, 1, 2, 3, 4, 5])


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    p = probabilities(1.0, [0, 1, 2, 3, 4, 5])
    check(Sampling(1.0, top_p=p[0] + p[1] - 0.001), [0, 1])
    check(Sampling(1.0, top_p=p[0] + p[1] + 0.001), [0, 1, 2])
    assert frequencies(Sampling(1.0, top_p=1e-9), 100)[0] == 100


def test_a_row_does_not_depend_on_its_batch() -> None:
    rows = torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
    options = [Sampling(0.0), Sampling(1.0), Sampling(0.7, 0.9), Sampling(1.0, 1.0, 5)] * 2
    numbers = [0.1, 0.5, 0.999, 0.3, 0.2, 0.7, 0.0]
    together = sample(rows, options[:7], numbers)
    alone = [sample(rows[i : i + 1], [options[i]], [numbers[i]])[0] for i in range(7)]
    assert together == alone


def test_the_ends_of_the_unit_interval_give_possible_tokens() -> None:
    logits = torch.tensor([[-math.inf, 0.0, 0.0, -math.inf]])
    for number in (0.0, 0.5, 1.0 - 2**-53):
        assert sample(logits, [Sampling(1.0)], [number])[0] in (1, 2)
        assert sample(logits, [Sampling(1.0, 0.9)], [number])[0] in (1, 2)


def test_not_a_number() -> None:
    rows = torch.stack([LOGITS, torch.full_like(LOGITS, math.nan)])
    assert sample(rows, [Sampling(1.0), Sampling(1.0)], [0.0, 0.0]) == [0, INVALID]


@given(st.integers(0, 10_000), st.sampled_from([3, 480, 2000]))
def test_rows_drawn_together_draw_what_each_draws_alone(seed: int, vocabulary: int) -> None:
    draw = random.Random(seed)
    count = draw.randint(1, 40)
    logits = torch.randn(count, vocabulary, generator=torch.Generator().manual_seed(seed)) * 9
    if seed % 3 == 0:
        logits[:, vocabulary // 2 :] = -torch.inf
    temperatures = [draw.choice([0.0, 0.1, 0.7, 1.0, 1.3]) for _ in range(count)]
    sampling = [Sampling(t, top_k=draw.choice([0, 0, 2])) for t in temperatures]
    uniforms = [draw.choice([0.0, draw.random(), 1 - 2**-53]) for _ in range(count)]
    alone = [
        sample(logits[row : row + 1], sampling[row : row + 1], uniforms[row : row + 1])[0]
        for row in range(count)
    ]
    assert sample(logits, sampling, uniforms) == alone
    for row, options in enumerate(sampling):
        if options.temperature and not options.top_k:
            assert alone[row] == inverse(distribution(logits[row], options), uniforms[row])
