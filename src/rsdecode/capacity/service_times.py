"""How long a model takes for its work, as a file keeps it."""

from __future__ import annotations

import bisect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rsdecode.capacity.traces import Trace, trace_of_json, trace_to_json
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

FORMAT = "rsdecode service times, 1"


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """One model's, in seconds.

    A model works in passes. A pass over prompts reads those that have come; a decoding pass writes
    one token of every answer under way.

    Attributes:
        decode_s: seconds of a decoding pass by how many tokens it writes, in ascending order;
            between the measured sizes, and beyond the largest, it is a straight line.
        pass_s: seconds of a pass over one prompt, whatever its length.
        token_s: seconds of each token of prompts, beside it.
        prompt_s: seconds of each further prompt in the same pass, beside its tokens.
        max_batch: requests under way at most.
    """

    decode_s: tuple[tuple[int, float], ...]
    pass_s: float
    token_s: float
    prompt_s: float
    max_batch: int

    def scaled(self, factor: float) -> ServiceTimes:
        """So much longer."""
        decode = tuple((count, seconds * factor) for count, seconds in self.decode_s)
        others = (self.pass_s * factor, self.token_s * factor, self.prompt_s * factor)
        return ServiceTimes(decode, *others, max_batch=self.max_batch)

    def decoding(self, count: int) -> float:
        """Seconds of a decoding pass that writes `count` tokens."""
        if count == 0 or not self.decode_s:
            return 0.0
        if len(self.decode_s) == 1:
            return self.decode_s[0][1]
        sizes = [size for size, _ in self.decode_s]
        right = min(max(bisect.bisect_left(sizes, count), 1), len(sizes) - 1)
        (n0, s0), (n1, s1) = self.decode_s[right - 1], self.decode_s[right]
        return max(s0 + (s1 - s0) * (count - n0) / (n1 - n0), 0.0)

    def reading(self, tokens: int, prompts: int = 1) -> float:
        """Seconds of a pass over so many tokens of so many prompts."""
        return self.pass_s + self.token_s * tokens + self.prompt_s * (prompts - 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """A short real run.

    Attributes:
        times: of each model.
        traces: of its problems.
        about: the models and the method, for people and for checks.
    """

    times: dict[Role, ServiceTimes]
    traces: tuple[Trace, ...]
    about: Mapping[str, Any]

    def corrected(self, factor: float) -> Measured:
        """With all times so much longer, as the run itself was than its simulation."""
        times = {role: of.scaled(factor) for role, of in self.times.items()}
        return Measured(times, self.traces, {**self.about, "correction": round(factor, 4)})

    def save(self, path: Path) -> None:
        """Write a file that `load` reads.

        Raises:
            ConfigError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "about": dict(self.about),
            "times": {role.value: asdict(times) for role, times in self.times.items()},
            "traces": [trace_to_json(trace) for trace in self.traces],
        }
        try:
            path.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--save {path}: cannot be written: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Measured:
        """Read what `save` wrote.

        Raises:
            ConfigError: it cannot be read, or is another file.
        """
        try:
            content: Any = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"--measured {path}: cannot be read: {error.strerror}") from None
        except ValueError:
            content = None
        if not isinstance(content, dict) or cast(Any, content).get("format") != FORMAT:
            raise ConfigError(f"--measured {path}: is no file of rsd plan --save")
        try:
            return cls._of(cast("dict[str, Any]", content))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"--measured {path}: damaged ({error!r}): measure anew") from None

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Measured:
        traces: Sequence[Any] = content["traces"]
        times = {Role(role): _times(of) for role, of in content["times"].items()}
        if not traces or not all(traces):
            raise ValueError("no traces")
        return cls(times, tuple(map(trace_of_json, traces)), content["about"])


def _times(data: dict[str, Any]) -> ServiceTimes:
    decode = tuple((int(count), float(seconds)) for count, seconds in data["decode_s"])
    seconds = [float(data[name]) for name in ("pass_s", "token_s", "prompt_s")]
    return ServiceTimes(decode, *seconds, max_batch=int(data["max_batch"]))
