"""`rsd lm-eval`: the lm-evaluation-harness with RSD among its models."""

from __future__ import annotations

from typing import Any

import typer

from rsdecode.core.errors import ConfigError

CONTEXT: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}


def command(context: typer.Context) -> None:
    """Run lm_eval of the lm-evaluation-harness over RSD; its options are taken as they are.

    `rsd lm-eval --model_args config=run.yaml --tasks gsm8k` is `lm_eval --model rsd ...`. Every key
    of the configuration can follow: --model_args config=run.yaml,weighting.threshold=0.5
    """
    try:
        from rsdecode.evals.lm_eval import main
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "lm_eval":
            raise
        raise ConfigError(
            "rsd lm-eval needs the lm-evaluation-harness: pip install 'rsdecode[lm-eval]'"
        ) from None
    main(context.args)
