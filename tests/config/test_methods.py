from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsdecode.config import RunConfig, config_hash, load_config, resolved
from rsdecode.config.build import build_models
from rsdecode.config.method_names import METHOD_FORMS, parse_method_name
from rsdecode.config.methods import build_named_method
from rsdecode.core.budget import Budget
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Sampling
from rsdecode.core.weighting import BinaryStep, Constant, Logistic
from rsdecode.methods import RSD, Beam, BestOfN, Majority, ProcessBestOfN, Single, Speculative

NAMES = (
    "draft",
    "target",
    "rsd",
    "rsd@0.5",
    "majority@8",
    "best-of-8",
    "best-of-8:min",
    "process-best-of-4",
    "beam@4",
    "beam@2:product:expansions=3",
    "speculative",
    "speculative@3",
)


def config(**overrides: Any) -> RunConfig:
    return load_config(overrides={k.replace("__", "."): v for k, v in overrides.items()})


def test_what_each_name_builds() -> None:
    built = {name: build_named_method(name, config()) for name in NAMES}
    assert isinstance(built["draft"], Single)
    assert built["draft"].roles == {"draft"}
    assert built["rsd"] == RSD()
    assert built["rsd@0.5"] == RSD(weighting=BinaryStep(0.5))
    assert built["majority@8"] == Majority(8, sampling=Sampling(0.7))
    assert built["best-of-8"] == BestOfN(8, "last")
    assert built["best-of-8:min"] == BestOfN(8, "min")
    assert built["process-best-of-4"] == ProcessBestOfN(4)
    assert built["beam@4"] == Beam(4, 4, "last")
    assert built["beam@2:product:expansions=3"] == Beam(2, 3, "product")
    assert built["speculative"] == Speculative(5)
    assert built["speculative@3"] == Speculative(3)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_knows_the_roles_and_its_one_spelling(name: str) -> None:
    parsed = parse_method_name(name)
    assert build_named_method(name, config()).roles == parsed.roles
    assert parse_method_name(str(parsed)) == parsed
    parse_method_name(name)


def test_options_of_rsd() -> None:
    several = build_named_method("rsd:candidates=4:budget=0.2", config())
    assert several == RSD(budget=Budget(0.2, 0.7), candidates=4, draft_sampling=Sampling(0.7))
    base = config(weighting__kind="constant", weighting__p=0.3)
    assert build_named_method("rsd", base) == RSD(weighting=Constant(0.3))
    assert build_named_method("rsd@0.6:weighting=logistic:alpha=5", base) == RSD(
        weighting=Logistic(5.0, 0.6)
    )


def test_a_greedy_draft_is_sampled_at_the_papers_temperature_and_it_shows() -> None:
    greedy, warm = (
        config(method="majority@8"),
        config(method="majority@8", sampling__draft__temperature=0.7),
    )
    assert resolved(greedy)["sampling"]["draft"]["temperature"] == 0.7
    assert config_hash(greedy) == config_hash(warm)
    hot = build_named_method("best-of-4", config(sampling__draft__temperature=1.1))
    assert isinstance(hot, BestOfN)
    assert hot.sampling.temperature == 1.1
    one = build_named_method("majority@1", config())
    assert isinstance(one, Majority)
    assert one.sampling.temperature == 0.0


def test_the_hash_names_what_is_meant_not_how_it_is_spelled() -> None:
    same = [
        (config(method="rsd@0.5"), config(weighting__threshold=0.5)),
        (config(method="rsd@0.70"), config()),
        (config(method="speculative"), config(method="speculative@5")),
        (config(method="best-of-8"), config(method="best-of-8:last")),
        (config(method="beam@4:expansions=2:min"), config(method="beam@4:min:expansions=2")),
    ]
    for a, b in same:
        assert config_hash(a) == config_hash(b)
    hashes = {config_hash(config(method=name)) for name in NAMES}
    assert len(hashes) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("majorty@8", r"unknown method 'majorty@8'; did you mean majority@4"),
        ("best-of8", "did you mean .*best-of-4"),
        ("majority-8", r"did you mean majority@4"),
        ("draft@3", "did you mean draft"),
        ("zzz", r"unknown method 'zzz'; the forms are: draft, target, rsd\[@THRESHOLD\]"),
        ("", "unknown method ''"),
        ("majority", r"needs its number: majority@N"),
        ("majority@0", "N '0' must be a whole number of at least 1"),
        ("majority@2.5", "must be a whole number"),
        ("best-of-8:best", "aggregation 'best' must be one of last, min, product, mean"),
        ("best-of-8:min:max", "gives aggregation twice"),
        ("majority@8:min", "majority has no options"),
        ("rsd@2", r"THRESHOLD '2' must be a number in \[0, 1\]"),
        ("rsd@nan", r"must be a number in \[0, 1\]"),
        ("rsd:candidate=4", "no option 'candidate'; did you mean 'candidates'"),
        ("rsd@0.5:threshold=0.6", "threshold twice"),
        ("beam@4:expansions=0", "expansions '0' must be"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_method_name(name)
    with pytest.raises(ConfigError, match=message):
        config(method=name)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rsd:weighting=steep", {}, "method 'rsd:weighting=steep': unknown weighting"),
        ("rsd:weighting=constant", {}, "needs p"),
        ("rsd:p=0.5", {}, "p has no effect on the step weighting"),
        ("rsd:budget=0.2:weighting=clipping", {}, "conflicts with the clipping weighting"),
        ("rsd", {"candidates": 3}, "greedy draft are all the same"),
    ],
)
def test_names_that_contradict_the_settings(
    name: str, settings: dict[str, Any], message: str
) -> None:
    base = RunConfig()
    with pytest.raises(ConfigError, match=message):
        build_named_method(name, base.model_copy(update=settings))


def test_every_form_is_read() -> None:
    for form in METHOD_FORMS:
        plain = form.split("[")[0].replace("WIDTH", "2").replace("-N", "-2").replace("@N", "@2")
        parse_method_name(plain)
        assert build_named_method(plain, RunConfig()).roles


def test_speculative_models_that_hide_their_tokens_are_refused_with_their_specs(
    tmp_path: Path,
) -> None:
    script = tmp_path / "s.json"
    script.write_text('{"generate": {"*": ["x"]}}')
    spec = f"scripted:{script}"
    with pytest.raises(ConfigError, match=rf"draft {spec}, target {spec}: the draft cannot"):
        build_models(config(method="speculative", draft=spec, target=spec))
