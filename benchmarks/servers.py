"""Real vLLM servers to measure with: what they serve, and the problems and method that suit it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rsdecode.backends.vllm_server import Fleet, LogWatcher, executable
from rsdecode.config import RunConfig
from rsdecode.config.build import build_models
from rsdecode.config.vllm import plan_servers
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role
from rsdecode.core.weighting import Constant
from rsdecode.methods import RSD
from rsdecode.models.abacus import model_path
from rsdecode.models.abacus import problems as abacus_problems

MAX_BATCH = 128
"""What the servers are started with as --max-num-seqs."""


@dataclass(frozen=True, slots=True)
class Service:
    """Three models behind servers.

    Attributes:
        folders: of the checkpoints.
        method: how they are used together.
        dtype: of the weights and of what is computed.
    """

    folders: dict[Role, str]
    method: RSD = field(default_factory=RSD)
    dtype: str = "auto"

    @contextmanager
    def started(self) -> Generator[dict[Role, str]]:
        """Addresses of servers of our own, which stop at the end.

        Raises:
            ConfigError: there is no vLLM (see docs/guide/vllm.md).
        """
        config = self._config({role: f"vllm:{folder}" for role, folder in self.folders.items()})
        fleet = Fleet(plan_servers(config, Role), executable(), LogWatcher())
        try:
            fleet.start()
            servers = {role: fleet.server(role.value) for role in Role}
            yield {role: f"{server.url}#{server.name}" for role, server in servers.items()}
        finally:
            fleet.close()

    def models(self, addresses: dict[Role, str]) -> Models:
        """The models behind these addresses."""
        return build_models(self._config(addresses))

    def _config(self, specs: dict[Role, str]) -> RunConfig:
        return RunConfig.model_validate(
            {
                "draft": specs[Role.DRAFT],
                "target": specs[Role.TARGET],
                "draft_tokenizer": self.folders[Role.DRAFT],
                "target_tokenizer": self.folders[Role.TARGET],
                "reward": {"spec": specs[Role.REWARD], "tokenizer": self.folders[Role.REWARD]},
                "http": {"concurrency": 512},
                "engine": {"slots": MAX_BATCH, "max_context": 2048, "dtype": self.dtype},
            }
        )


def family() -> Service:
    """The embedded family at its defaults."""
    draft, target, prm = (str(model_path(name)) for name in ("draft", "target", "prm"))
    return Service({Role.DRAFT: draft, Role.TARGET: target, Role.REWARD: prm})


def one_writer(folder: str) -> Service:
    """One language model as draft and target, which write answers of up to 256 tokens.

    The family's reward model has no opinion on what it writes, so seven in ten steps are accepted
    by lot, the same ones in every run. It is read all the same.
    """
    method = RSD(Constant(0.7), limits=Limits(max_tokens=256))
    again = f"{folder}/."  # under its own name the target would share the draft's server
    folders = {Role.DRAFT: folder, Role.TARGET: again, Role.REWARD: str(model_path("prm"))}
    return Service(folders, method, dtype="bfloat16")


def problems(count: int) -> list[Problem]:
    """The first problems of the family's test set."""
    return [Problem.ask(p.question, id=p.id) for p in abacus_problems("test", limit=count)]
