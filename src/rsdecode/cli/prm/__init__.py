"""`rsd prm`: reward models of one's own."""

from __future__ import annotations

from rsdecode.cli.commands import CommandEntry

COMMANDS = {
    "label": CommandEntry("prm.label", "Sample solutions of questions and label their steps."),
    "train": CommandEntry("prm.train", "Train a process reward model on labelled steps."),
    "test": CommandEntry(
        "prm.test", "Measure reward models on labelled steps: --reward, and each one --against."
    ),
}
