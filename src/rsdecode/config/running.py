"""Sections of the configuration for where models run, and for who serves them.

What of them changes an answer is in the results' key (see `resolve.config_hash`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rsdecode.config.parts import Context, Count, NotNegative, Part, Place, Positive
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role


class EngineConfig(Part):
    """The in-process engine.

    Attributes:
        device: auto, cpu, cuda, cuda:1.
        dtype: of weights and computing; auto for the checkpoint's on a GPU, float32 elsewhere; int8
            for weights of 8 bits, with bfloat16 for everything else.
        slots: sequences in the KV cache, and requests in one batch at most.
        max_context: tokens of a sequence at most; by default what the model was made for.
        threads: of a forward pass on a processor; by default one for small models and the physical
            cores for others, or what the variable OMP_NUM_THREADS says.
        cuda_graphs: record decode passes and play them back, on a GPU, which spares the host the
            launches of their kernels.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    slots: Count = 32
    max_context: Context | None = None
    threads: Count | None = None
    cuda_graphs: bool = False


class LlamaCppConfig(Part):
    """How `gguf:` files are run by llama.cpp; `engine.max_context` holds for them too.

    Attributes:
        dequantise: run them in the engine instead, with their weights dequantised.
        slots: sequences at once of each file and role; by default as many as fit into memory, up
            to eight.
        threads: of each file; by default `engine.threads`, else one on each core.
        gpu_layers: layers on the GPU; by default all that fit, where llama.cpp was built for one.
        cache_mib: memory for sequences that lost their slot to others.
        logs: folder for llama.cpp's logs; by default one of the run's own, kept after a failure.
        ready_timeout_s: how long loading may take.
    """

    dequantise: bool = False
    slots: Count | None = None
    threads: Count | None = None
    gpu_layers: Place | None = None
    cache_mib: Place = 1024
    logs: str | None = None
    ready_timeout_s: Positive = 1800.0


class VllmRoleConfig(Part):
    """How one role's model is served; roles that share a model share the first one's settings.

    Attributes:
        tensor_parallel: GPUs to spread it over; by default as few as hold its weights well.
        gpus: which of the GPUs; by default those with most room.
        memory: share of each GPU's memory; by default computed from the models' sizes.
        max_model_len: tokens of one request; by default a question and the longest answer.
        arguments: more arguments of `vllm serve`.
    """

    tensor_parallel: Count | None = None
    gpus: Annotated[tuple[Place, ...], Field(min_length=1)] | None = None
    memory: Annotated[float, Field(gt=0, le=1, description="a number in (0, 1]")] | None = None
    max_model_len: Context | None = None
    arguments: tuple[str, ...] = ()


class VllmConfig(Part):
    """The vLLM servers that are started for `vllm:` models.

    Attributes:
        executable: the `vllm` command; by default $RSD_VLLM, one beside this Python or on the PATH.
        gpus: how many GPUs there are; by default nvidia-smi is asked.
        gpu_memory_gib: of each GPU; by default nvidia-smi is asked.
        logs: folder for the servers' logs; by default one of the run's own, kept after a failure.
        ready_timeout_s: how long the start of a server may take.
    """

    executable: str | None = None
    gpus: Count | None = None
    gpu_memory_gib: Positive | None = None
    logs: str | None = None
    ready_timeout_s: Positive = 1800.0
    draft: VllmRoleConfig = VllmRoleConfig()
    target: VllmRoleConfig = VllmRoleConfig()
    reward: VllmRoleConfig = VllmRoleConfig()

    def of(self, role: Role) -> VllmRoleConfig:
        """The settings of one role."""
        settings: VllmRoleConfig = getattr(self, role.value)
        return settings


class HttpConfig(Part):
    """Patience with served models (see `backends.openai_http.HttpSettings`); changes no answer."""

    timeout_s: Positive = 300.0
    deadline_s: Positive = 1800.0
    attempts: Count = 6
    backoff_s: Positive = 0.5
    rest_s: Positive = 5.0
    concurrency: Count = 256


class RayReplicasConfig(Part):
    """Replicas of one model, or of the front, under `rsd serve --ray`.

    Attributes:
        replicas: how many there are at least.
        most: how many more load may make of them; by default there are always `replicas`.
        requests: under way in each replica when another one is started.
        cpus: processor cores of each, and threads of its passes.
        gpus: of each; fractions let several models share one.
        resources: custom resources of each, by the names that the nodes were started with.
    """

    replicas: Count = 1
    most: Count | None = None
    requests: Count = 32
    cpus: Positive = 1.0
    gpus: NotNegative = 0.0
    resources: dict[str, Positive] = Field(default_factory=dict[str, float])

    @model_validator(mode="after")
    def _grows(self) -> RayReplicasConfig:
        if self.most is not None and self.most < self.replicas:
            raise ConfigError(f"most {self.most} is below replicas {self.replicas}")
        return self


class RayConfig(Part):
    """Workers on Ray, and replicas for `rsd serve --ray`; they change no answer.

    A worker has all models of the run (`rsd eval --ray`), a replica a single one.

    Attributes:
        workers: how many; by default as many as the cluster has room for.
        cpus: processor cores of each, and threads of its passes.
        gpus: of each; a fraction lets workers share one.
        resources: custom resources of each, by the names that the nodes were started with.
        front: of `rsd serve --ray`: the server that clients talk to.
        draft: of `rsd serve --ray` and `rsd plan`.
        target: the same.
        reward: the same.
    """

    workers: Count | None = None
    cpus: Positive = 1.0
    gpus: NotNegative = 0.0
    resources: dict[str, Positive] = Field(default_factory=dict[str, float])
    front: RayReplicasConfig = RayReplicasConfig()
    draft: RayReplicasConfig = RayReplicasConfig()
    target: RayReplicasConfig = RayReplicasConfig()
    reward: RayReplicasConfig = RayReplicasConfig()

    def of(self, role: Role) -> RayReplicasConfig:
        """The replicas of one model."""
        settings: RayReplicasConfig = getattr(self, role.value)
        return settings


class ServerConfig(Part):
    """How `rsd serve` serves; nothing here but `ignore_seed` changes an answer.

    Attributes:
        host: address to listen on; one that others can reach needs keys.
        port: to listen on; 0 for any that is free.
        keys: file of API keys, a label and a key a line; RSD_API_KEYS holds more of them.
        allow_public: listen on a public address without keys.
        cors: origins whose pages may ask this server, such as https://example.org; "*" for all.
        storage: folder that keeps the trajectories which the page's users share by link.
        queue: answers that may wait for their turn; more are refused with 429.
        max_body_kib: size of a request.
        max_prompt_characters: of all messages of a request together.
        max_samples: answers that one request may have written (n, and the samples of its method).
        deadline_s: seconds for an answer; null for no limit. `run.timeout_s` holds where it is
            shorter.
        drain_s: seconds that running answers are given when the server is told to end.
        ignore_seed: draw a new seed for every request, also where the client sends one.
        thoughts_open: whether prompts end with a mark that opens the thoughts; by default it is
            read from the chat template, where that is known here.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="a port, 0 to 65535")] = 8000
    keys: str | None = None
    allow_public: bool = False
    cors: tuple[str, ...] = ()
    storage: str | None = None
    queue: Place = 256
    max_body_kib: Count = 1024
    max_prompt_characters: Count = 400_000
    max_samples: Count = 64
    deadline_s: Positive | None = 900.0
    drain_s: Positive = 60.0
    ignore_seed: bool = False
    thoughts_open: bool | None = None
