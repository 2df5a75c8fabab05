"""Makes the embedded family from nothing; run again after a kill and it goes on.

    python -m recipes.abacus --out DIR --config default

Afterwards DIR/models holds the three checkpoint folders and DIR/evaluation.json what was measured.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main() -> None:
    """The command line."""
    from recipes.abacus.config import CONFIGS
    from recipes.abacus.stages import STAGES, run_all, run_stage

    parser = argparse.ArgumentParser(prog="python -m recipes.abacus", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, samples, models")
    parser.add_argument("--config", choices=list(CONFIGS), default="default")
    parser.add_argument("--stage", choices=list(STAGES), help="run only this stage")
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="stages at the same time"
    )
    parser.add_argument("--install", type=Path, help="copy the models to this folder at the end")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage:
        run_stage(options.stage, options.config, options.out)
    else:
        run_all(options.config, options.out, options.jobs)
    if options.install:
        from recipes.abacus.export import install

        install(options.out / "models", options.install)


if __name__ == "__main__":
    main()
