"""`rsd serve --ray`: what is told before a cluster is there, and the file for Serve."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rsdecode.cli.main import main


def test_a_file_for_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = pytest.importorskip("ray.serve.schema")
    config = tmp_path / "run.yaml"
    config.write_text(
        "reward: {spec: 'likelihood:target'}\n"
        "ray: {target: {replicas: 2, most: 4, gpus: 0.5, resources: {a100: 1}}}\n"
    )
    assert (
        main(["serve", "--config", str(config), "--port", "9000", "--ray", "--print-config"]) == 0
    )
    printed = yaml.safe_load(capsys.readouterr().out)
    read = schema.ServeDeploySchema.model_validate(printed)
    [application] = read.applications
    assert application.import_path == "rsdecode.server.ray_app:build"
    assert read.http_options.port == 9000
    assert {d.name for d in application.deployments} == {"front", "draft", "target"}
    [target] = [d for d in application.deployments if d.name == "target"]
    assert target.autoscaling_config["max_replicas"] == 4
    assert target.ray_actor_options.num_gpus == 0.5
    assert target.ray_actor_options.resources == {"a100": 1}


def test_a_file_without_ray_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--print-config"]) == 2
    assert "it needs --ray" in capsys.readouterr().err


def test_wrong_replicas_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("ray: {target: {replicas: 3, most: 2}}")
    assert main(["serve", "--config", str(config), "--ray", "local"]) == 2
    assert "most 2 is below replicas 3" in capsys.readouterr().err


def test_one_question_needs_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["solve", "1 + 1?", "--ray", "local"]) == 2
    assert "--ray local needs --input FILE" in capsys.readouterr().err
