"""What `rsd prm train` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from rsdecode.core.errors import ConfigError


class Layout(StrEnum):
    """How the reward model is stored, and so read."""

    VALUE_HEAD = "value-head"
    """A backbone and one linear output, as Skywork-o1-Open-PRM."""
    TOKEN_CLASSIFIER = "token-classifier"
    """A Hugging Face token classifier with the labels wrong and right, as TRL's PRMTrainer."""


class Part(StrEnum):
    """What of the model is trained."""

    FULL = "full"
    LORA = "lora"
    """Adapters of all linear layers, merged at the end."""
    LAYERS = "layers"
    """New layers behind the backbone's (of a wider one, what they learn), and the head."""
    HEAD = "head"
    """The head alone, on the backbone's outputs, which are computed once and kept on the disk."""


class Optimiser(StrEnum):
    """What makes updates of gradients."""

    ADAMW = "adamw"
    MUON = "muon"
    """Muon for the matrices, AdamW for all else."""


RATES = {Part.FULL: 2e-5, Part.LORA: 2e-4, Part.LAYERS: 1e-3}
"""Learning rates where none is given."""
_OF_UPDATES = {
    "rate": "--rate", "epochs": "--epochs", "batch": "--batch", "accumulate": "--accumulate",
    "evaluations": "--evaluations", "patience": "--patience",
    "language_weight": "--language-weight", "token_weight": "--token-weight",
}  # fmt: skip
"""Settings, with their options, of what is trained update by update."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Everything that decides the trained weights, beside labels and backbone.

    Attributes:
        mark: text after each step, at which the reward is read.
        rate: peak learning rate; None for that of the part.
        batch: solutions of one update.
        accumulate: parts that a batch is computed in, for less memory.
        max_tokens: longer solutions lose their last steps.
        soft: learn the share of completions that end right, where it is known, instead of 0 or 1.
        after_error: learn from the steps after a first wrong one as well.
        language_weight: of the language-model loss on right steps, beside the reward's.
        corrupted: copies with replaced digits of each right solution, as further wrong steps.
        token_weight: of the loss at single tokens: as likely right as they are labelled; where only
            steps are, all of a right one are right, and replaced digits are wrong.
        optimiser: of the updates.
        balance: wrong and right steps weigh the same.
        compiled: let torch.compile make the backbone's training passes faster.
        new_layers: put behind the backbone's (see `growth`).
        widen: let the new layers find which token was read (see `widening`).
        evaluations: on held-out problems, and checkpoints, in all.
        patience: evaluations without a better loss after which training ends; 0 for never.
        low_memory: compute activations again instead of keeping them.
        calibrate: fit scale and shift of the outputs on held-out problems, and fold them in.

    Raises:
        ConfigError: a number is out of range, or settings contradict each other.
    """

    layout: Layout = Layout.VALUE_HEAD
    part: Part = Part.FULL
    mark: str = "\n"
    epochs: float = 3.0
    rate: float | None = None
    batch: int = 16
    accumulate: int = 1
    max_tokens: int = 2048
    soft: bool = False
    after_error: bool = False
    language_weight: float = 0.0
    corrupted: float = 0.0
    token_weight: float = 0.0
    optimiser: Optimiser = Optimiser.ADAMW
    balance: bool = False
    lora_rank: int = 16
    new_layers: int = 0
    widen: bool = False
    evaluations: int = 10
    patience: int = 3
    low_memory: bool = False
    compiled: bool = False
    calibrate: bool = True
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, option in (
            ("epochs", "--epochs"), ("batch", "--batch"), ("accumulate", "--accumulate"),
            ("max_tokens", "--max-length"), ("lora_rank", "--lora-rank"),
            ("evaluations", "--evaluations"),
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ConfigError(f"{option} {getattr(self, name):g} must be above 0")
        if self.rate is not None and not self.rate > 0:
            raise ConfigError(f"--rate {self.rate:g} must be above 0")
        for name, option in (
            ("language_weight", "--language-weight"), ("token_weight", "--token-weight"),
            ("corrupted", "--corrupted"), ("patience", "--patience"),
            ("new_layers", "--new-layers"),
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{option} {getattr(self, name):g} must be at least 0")
        if self.batch % self.accumulate:
            raise ConfigError(
                f"--batch {self.batch} cannot be computed in {self.accumulate} equal parts "
                "(--accumulate)"
            )
        self._check_part()
        if self.dtype == "int8":
            raise ConfigError("--dtype int8 cannot be trained: use float32, or bfloat16 on a GPU")
        if not self.mark:
            raise ConfigError("--mark must be some text; the default is a line break")

    def _check_part(self) -> None:
        """Refuse what has no effect on the part that is trained."""
        if self.part is Part.HEAD:
            usual = {field.name: field.default for field in fields(self)}
            for name, option in _OF_UPDATES.items():
                if getattr(self, name) != usual[name]:
                    raise ConfigError(
                        f"{option} has no effect on the head alone, which is fitted to the end: "
                        "leave it out"
                    )
        if self.compiled and (self.part is Part.HEAD or self.low_memory):
            raise ConfigError("--compile has no effect on --part head, and excludes --low-memory")
        if self.part not in (Part.FULL, Part.LAYERS):
            for given, option in (
                (self.new_layers, "--new-layers"),
                (self.optimiser is Optimiser.MUON, "--optimiser muon"),
            ):
                if given:
                    raise ConfigError(f"{option} is for --part full or layers, not {self.part}")
        if self.part is Part.LAYERS and not self.new_layers:
            raise ConfigError("--part layers trains new layers: give --new-layers, such as 2")
        if not self.widen:
            return
        if self.part is not Part.LAYERS:
            raise ConfigError(f"--widen is for --part layers, not {self.part}")
        if self.layout is not Layout.VALUE_HEAD or self.language_weight:
            raise ConfigError("--widen is for --layout value-head without --language-weight")

    @property
    def learning_rate(self) -> float:
        """The peak learning rate."""
        return RATES[self.part] if self.rate is None else self.rate

    @property
    def reads(self) -> str:
        """The setting of a reward model that holds the mark."""
        return "mark" if self.layout is Layout.VALUE_HEAD else "separator"
