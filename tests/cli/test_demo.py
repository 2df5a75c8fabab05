from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsdecode.cli.main import main
from rsdecode.config.build import ModelBuilder


def test_json_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "demo.png"
    engine = ["--concurrency", "8", "--threads", "1"]
    code = main(
        ["demo", "--problems", "10", "--level", "2", "--json", "--picture", str(picture), *engine]
    )
    assert code == 0
    shown = json.loads(capsys.readouterr().out)
    methods = {method["method"]: method for method in shown["methods"]}
    assert set(methods) == {"draft", "target", "rsd"}
    for method in methods.values():
        assert method["problems"] == 10
        assert method["accuracy_low"] <= method["accuracy"] <= method["accuracy_high"]
        assert method["flops"]["paper"] > 0
        assert method["flops"]["exact"] > 0
        assert method["seconds"] > 0
    assert methods["draft"]["tokens"]["target"] == 0
    assert methods["target"]["tokens"]["draft"] == 0
    assert methods["rsd"]["tokens"]["reward"] > 0
    assert [point["threshold"] for point in shown["sweep"]] == [i / 10 for i in range(11)]
    rates = [point["acceptance_rate"] for point in shown["sweep"]]
    assert rates[0] == 1.0
    assert rates[-1] < 0.5
    default = next(point for point in shown["sweep"] if point["threshold"] == 0.7)
    assert default["accuracy"] == methods["rsd"]["accuracy"]
    assert default["tokens"] == methods["rsd"]["tokens"]
    assert default["flops"] == methods["rsd"]["flops"]
    assert default["to_target"]["difference"] == methods["rsd"]["to_target"]["difference"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("{run: {samples: 2}, engine: {threads: 1}}")
    given = ["--no-sweep", "--picture", str(tmp_path / "p.png")]
    given += ["--config", str(tmp_path / "run.yaml")]
    assert main(["demo", "--problems", "5", *given]) == 0
    out = capsys.readouterr().out
    for word in ("10 answers", "draft", "target", "rsd", "accuracy", "FLOPs", "1.00x"):
        assert word in out
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problems", "0"], "--problems"),
        (["--level", "6"], "--level"),
        (["--threshold", "1.5"], "--threshold"),
        (["--concurrency", "0"], "--concurrency"),
        (["--threads", "100000"], "more than the cores of this machine"),
        (["--picture", "file/demo.png"], "--picture file/demo.png: cannot be written"),
        (["--config", "no.yaml"], "--config no.yaml: there is no such file"),
        (["--config", "other.yaml"], "--config other.yaml: rsd demo is draft, target and rsd on"),
        (["--picture", "demo.xyz"], "--picture demo.xyz: the name must end with the kind"),
    ],
)
def test_bad_options_are_told_before_anything_is_loaded(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "other.yaml").write_text("target: hf:a/b")
    monkeypatch.setattr(ModelBuilder, "writer", None)
    assert main(["demo", *arguments]) == 2
    assert message in capsys.readouterr().err
