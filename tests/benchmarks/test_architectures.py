"""Families of transformers: `generate`'s tokens, or a refusal with its reason."""

from __future__ import annotations

import pytest

from benchmarks.architectures import Finding, Verdict, page, try_family
from benchmarks.tiny_families import families
from rsdecode.backends.transformers import families as checked
from rsdecode.backends.transformers.families import EAGER


@pytest.mark.parametrize("family", sorted(EAGER))
def test_every_family_whose_own_attention_code_is_used_gives_generates_tokens(family):
    finding = try_family(family)
    assert (finding.verdict, finding.attention) == (Verdict.EQUAL, "eager"), finding.reason


@pytest.mark.parametrize(
    "family",
    ["llama", "qwen3", "gemma3_text", "gpt2", "deepseek_v3", "minimax_m3_vl_text", "olmo2"],
)
def test_families_with_sdpa_give_generates_tokens(family):
    finding = try_family(family)
    assert (finding.verdict, finding.attention) == (Verdict.EQUAL, "sdpa"), finding.reason


@pytest.mark.parametrize(
    ("family", "attention"),
    [
        ("qwen3_next", "sdpa, states: even"),
        ("zamba2", "sdpa, states: whole"),
        ("mamba", "none, states: single"),
    ],
)
def test_families_with_states_give_generates_tokens(family, attention):
    finding = try_family(family)
    assert (finding.verdict, finding.attention) == (Verdict.EQUAL, attention), finding.reason


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("gpt_neo", "code of its own"),
        ("rwkv", "hands its layers' recurrent state on by code of its own"),
        ("recurrent_gemma", "keeps the states of its linear_attention layers in these layers"),
        ("minimax", "its linear_attention layers from a cache class of its own alone"),
        ("deepseek_v4", "heavily_compressed_attention layers, whose masks"),
        ("llama4_text", "chunked_attention layers, whose masks this engine does not make"),
        ("hrm_text", "cannot be run by this engine"),
    ],
)
def test_what_would_differ_or_fail_is_refused_with_its_reason(family, reason):
    finding = try_family(family)
    assert finding.verdict is Verdict.REFUSED
    assert reason in finding.reason


def test_a_family_that_differs_is_found_at_load_even_if_it_were_listed(monkeypatch):
    """GPT-Neo masks by itself and disregards our masks without a complaint."""
    monkeypatch.setattr(checked, "EAGER", EAGER | {"gpt_neo"})
    finding = try_family("gpt_neo")
    assert finding.verdict is Verdict.REFUSED
    assert "gives other outputs in this engine's cache" in finding.reason


def test_all_decoder_only_families_are_tried():
    named = families()
    assert len(named) > 80
    assert {"llama", "gpt_oss", "mpt", "mamba"} <= set(named)
    assert not {"bert", "bart", "t5"} & set(named)


def test_the_page_counts_and_names_the_version():
    import transformers

    text = page([Finding("a", "A", Verdict.EQUAL, "sdpa"), Finding("b", "B", Verdict.REFUSED)])
    assert "1 equal, 1 refused, 0 differs, 0 not tried" in text
    assert transformers.__version__ in text
