"""The face for Python: models loaded once, problems solved one by one, together, or streamed."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from numbers import Integral, Real
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self, TypedDict, TypeVar, Unpack, cast

from rsdecode.config import RunConfig, config_hash, load_config
from rsdecode.config.build import ModelBuilder, build_method, build_problem
from rsdecode.config.methods import build_named_method, check_models
from rsdecode.core.conversation import check_question, read_messages
from rsdecode.core.errors import ConfigError, InputError, SessionClosed
from rsdecode.core.protocols import LanguageModel, Models, RewardModel
from rsdecode.core.types import Message, Problem, Role, Trajectory
from rsdecode.loop_thread import LoopThread
from rsdecode.methods import Method
from rsdecode.results.records import trajectory_to_record
from rsdecode.rewards.function import FunctionReward
from rsdecode.session.events import Event
from rsdecode.session.handle import Handle
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.text.quiet import quiet_libraries

Question = str | Problem | Sequence[Message | Mapping[str, str]]
"""A text, a conversation that ends with the question, or a problem with an id of its own."""
RewardFunction = Callable[[str, list[str]], Any]
"""Takes a question and the steps so far; returns the reward of the last step, in [0, 1]."""
Result = TypeVar("Result")


class SolveOptions(TypedDict, total=False):
    """How one call differs from the configuration.

    Attributes:
        method: a name such as `rsd@0.5` or `target`, or a method; the loaded one by default.
        seed: of the run; the configuration's by default.
        sample: which of several answers; each has random draws of its own.
        deadline_s: seconds after which a problem ends with `cancelled`, keeping its steps.
    """

    method: str | Method
    seed: int
    sample: int
    deadline_s: float | None


def load(
    config: str | Path | RunConfig | None = None,
    *,
    draft: str | LanguageModel | None = None,
    target: str | LanguageModel | None = None,
    reward: str | RewardModel | RewardFunction | None = None,
    method: str | None = None,
    threshold: float | None = None,
    **settings: Any,
) -> Solver:
    """Load models that solve problems; without arguments, those that the package ships.

        with rsdecode.load(draft="hf:...", target="hf:...", reward="hf:...") as rsd:
            print(rsd.solve("What is 17 * 23?").answer)

    Args:
        config: a YAML file, `preset:NAME`, or a configuration.
        draft: a spec such as `hf:ID_OR_PATH` or `http://HOST:PORT/v1#NAME`, or a model.
        target: the same.
        reward: a spec, a reward model, or a function of the question and the steps so far.
        method: by name, such as `rsd` (default), `target`, `majority@8`.
        threshold: of the reward from which on a draft step is accepted.
        settings: other keys of the configuration; sections as dictionaries, for example
            `limits={"max_tokens": 512}`, `run={"concurrency": 64}`.

    Raises:
        ConfigError: a setting is wrong, or the models do not go together.
        ModelLoadError: a model cannot be loaded.
    """
    given: dict[str, Any] = {"method": method, "weighting.threshold": threshold}
    objects: dict[Role, Any] = {}
    for role, key, model in (
        (Role.DRAFT, "draft", draft),
        (Role.TARGET, "target", target),
        (Role.REWARD, "reward.spec", reward),
    ):
        if model is None or isinstance(model, str):
            given[key] = model
        else:
            objects[role] = _as_model(role, model)
    overrides = {key: value for key, value in given.items() if value is not None}
    overrides |= dict(_flat(settings))
    _check_source(config)
    if isinstance(config, RunConfig):
        changed = config.model_dump(mode="json", exclude_unset=True)
        overrides, config = {**dict(_flat(changed)), **overrides}, None
    loaded = load_config(config, overrides)
    return Solver(loaded, _load_models(loaded, objects))


def _check_source(config: object) -> None:
    """Whether a configuration can be read from there.

    Raises:
        ConfigError: it is neither a file, nor a preset, nor a configuration.
    """
    if config is None or isinstance(config, RunConfig):
        return
    if not isinstance(config, (str, Path)):
        raise ConfigError(
            "a configuration is a YAML file, preset:NAME or a RunConfig, not "
            f"{config!r:.80}: give settings by their names, load(**settings)"
        )
    if not str(config).startswith("preset:") and not Path(config).exists():
        raise ConfigError(
            f"configuration {str(config)!r}: there is no such file; models are named by draft=, "
            f"target= and reward=, for example target='hf:ID_OR_PATH'"
        )


class Solver:
    """Loaded models that solve problems (see `load`); use it as a context manager, or `close` it.

    All methods may be called from any thread, and inside of a running event loop: the work is done
    on an event loop of its own. Problems of all callers are in flight together, up to the
    configuration's `run.concurrency`; each result is as if it were alone.

    Args:
        config: limits, seeds and the method that is used where none is named.
        models: what answers; closed with the solver.
    """

    def __init__(self, config: RunConfig, models: Models) -> None:
        self.config = config
        self.models = models
        self._method = build_method(config)
        check_models(config, self._method, models)
        self._thread = LoopThread("rsdecode-solver")
        self._session = Session(
            models, concurrency=config.run.concurrency, thoughts=config.answer.marks
        )
        self._readers: set[asyncio.Future[None]] = set()
        self._finalizer = weakref.finalize(self, _shut_down, self._thread, models)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is in flight with `cancelled`, and free the models. Safe to call twice."""
        if self._finalizer.alive:
            self._thread.run(self._session.close(cancel=True))
            self._finalizer()

    def solve(self, question: Question, **options: Unpack[SolveOptions]) -> Trajectory:
        """Solve one problem, and wait for it.

        Returns:
            The trajectory: `answer`, `text`, `steps`, what it cost (`ledger`), and why it ended
            (`stop_reason`, `error`): a failed request does not raise.

        Raises:
            InputError: the question is empty, or no question.
            ConfigError: an option is wrong, or the method needs a model that was not loaded.
            SessionClosed: the solver was closed.
        """
        return self._run(self._solve(self._job(question, "0", options)))

    async def asolve(self, question: Question, **options: Unpack[SolveOptions]) -> Trajectory:
        """Solve one problem (see `solve`); cancelling the caller ends it."""
        job = self._job(question, "0", options)
        return await asyncio.wrap_future(self._open().submit(self._solve(job)))

    def solve_many(
        self, questions: Iterable[Question], **options: Unpack[SolveOptions]
    ) -> list[Trajectory]:
        """Solve problems together, and wait for all; trajectories in the order of the questions.

        Plain questions are numbered from "0" on, and their random draws depend on these ids. Take
        `as_completed` to see, and keep, each result when it is there.

        Raises:
            InputError: one of them is no question; none was solved then.
            ConfigError, SessionClosed: as `solve`.
        """
        jobs = list(self._jobs(questions, options))
        return self._run(self._solve_all(jobs))

    def as_completed(
        self, questions: Iterable[Question], **options: Unpack[SolveOptions]
    ) -> Iterator[Trajectory]:
        """Solve problems together; trajectories in the order in which they end.

        `trajectory.problem.id` tells which question it was. `questions` is read as room becomes
        free, and may be endless. Leaving the iteration ends what is in flight.
        """
        run = self._session.run(self._jobs(questions, options))
        turn = asyncio.Lock()  # Ctrl-C leaves a `_next` behind that is still ending
        try:
            while (trajectory := self._run(_next(run, turn))) is not None:
                yield trajectory
        finally:
            if self._finalizer.alive:
                self._run(_close(run, turn))

    def stream(self, question: Question, **options: Unpack[SolveOptions]) -> Iterator[Event]:
        """Solve one problem; events as they happen, the last of which is `Finished`.

        `Delta` holds provisional text; what a `Decided` holds is final. Leaving the iteration ends
        the problem.
        """
        events: SimpleQueue[Event | None] = SimpleQueue()
        handle = self._run(self._follow(self._job(question, "0", options), events.put))
        try:
            while (event := events.get()) is not None:
                yield event
        finally:
            self._thread.call(handle.cancel)

    async def astream(
        self, question: Question, **options: Unpack[SolveOptions]
    ) -> AsyncGenerator[Event]:
        """Like `stream`, for `async for`."""
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event | None]()

        def put(event: Event | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        job = self._job(question, "0", options)
        handle = await asyncio.wrap_future(self._open().submit(self._follow(job, put)))
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            self._thread.call(handle.cancel)

    def record(self, trajectory: Trajectory) -> dict[str, Any]:
        """A trajectory as plain JSON, with its cost in FLOPs, as `rsd solve --json` prints it."""
        shapes, name = self.models.shapes(), config_hash(self.config)
        return trajectory_to_record(
            trajectory, shapes=shapes, config_hash=name, thoughts=self.config.answer.marks
        )

    def _open(self) -> LoopThread:
        if not self._finalizer.alive:
            raise SessionClosed("the solver is closed: load the models again with rsdecode.load()")
        return self._thread

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        try:
            thread = self._open()
        except SessionClosed:
            coroutine.close()
            raise
        return thread.run(coroutine)

    def _job(self, question: Question, id: str, options: SolveOptions) -> Job:
        _check_options(options)
        run = self.config.run
        return Job(
            problem=_as_problem(self.config, question, id),
            method=self._method_of(options.get("method")),
            seed=options.get("seed", run.seed),
            sample=options.get("sample", 0),
            deadline_s=options.get("deadline_s", run.timeout_s),
        )

    def _jobs(self, questions: Iterable[Question], options: SolveOptions) -> Iterator[Job]:
        if isinstance(questions, str):
            raise ConfigError("a list of questions is wanted here: use solve() for one")
        if not hasattr(questions, "__iter__"):
            raise ConfigError(f"a list of questions is wanted here, not {questions!r:.80}")
        _check_options(options)
        method = self._method_of(options.get("method"))
        return self._numbered_jobs(questions, {**options, "method": method})

    def _numbered_jobs(self, questions: Iterable[Question], options: SolveOptions) -> Iterator[Job]:
        for number, question in enumerate(questions):
            if isinstance(question, Mapping):
                raise InputError(
                    f"question {number}: a message by itself is none; put conversations, which are "
                    "lists of messages, into a list of their own"
                )
            try:
                yield self._job(question, str(number), options)
            except InputError as error:
                raise InputError(f"question {number}: {error}") from None

    def _method_of(self, method: str | Method | None) -> Method:
        if method is None:
            return self._method
        chosen = build_named_method(method, self.config) if isinstance(method, str) else method
        if isinstance(chosen, type) or not (callable(chosen) and hasattr(chosen, "roles")):
            raise ConfigError(
                f"method {method!r} must be a name such as 'rsd@0.5' or a method object"
            )
        check_models(self.config, chosen, self.models)
        return chosen

    async def _solve(self, job: Job) -> Trajectory:
        handle = self._session.submit_job(job, events="none")
        try:
            return await handle.result()
        except asyncio.CancelledError:
            handle.cancel()
            raise

    async def _solve_all(self, jobs: Iterable[Job]) -> list[Trajectory]:
        handles: list[Handle] = []
        try:
            for job in jobs:
                await self._session.room()
                handles.append(self._session.submit_job(job, events="none"))
            return [await handle.result() for handle in handles]
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise

    async def _follow(self, job: Job, put: Callable[[Event | None], object]) -> Handle:
        """Submit a job whose events go to `put`, and then None."""
        handle = self._session.submit_job(job, events="all")

        async def forward() -> None:
            try:
                async for event in handle:
                    put(event)
            finally:
                put(None)

        reader = asyncio.ensure_future(forward())
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return handle


async def _next(run: AsyncGenerator[Trajectory], turn: asyncio.Lock) -> Trajectory | None:
    async with turn:
        return await anext(run, None)


async def _close(run: AsyncGenerator[Trajectory], turn: asyncio.Lock) -> None:
    async with turn:
        await run.aclose()


def _shut_down(thread: LoopThread, models: Models) -> None:
    models.close()
    thread.stop()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of nested sections as paths: {"limits": {"max_tokens": 9}} to "limits.max_tokens"."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(cast("Mapping[str, Any]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_model(role: Role, model: object) -> object:
    wanted = RewardModel if role is Role.REWARD else LanguageModel
    if isinstance(model, wanted):
        return model
    if role is Role.REWARD and callable(model):
        return FunctionReward(model)
    what = "a reward model, a function" if role is Role.REWARD else "a language model"
    raise ConfigError(f"{role} {model!r} is neither a spec such as 'hf:ID_OR_PATH' nor {what}")


def _load_models(config: RunConfig, objects: Mapping[Role, Any]) -> Models:
    """The models that the method needs: those that were given, and the others by their specs."""
    roles = config.roles
    writers = {role: objects[role] for role in objects if role is not Role.REWARD}
    builder = ModelBuilder(config, roles - objects.keys(), given=writers)
    builder.check()

    def model(role: Role) -> Any:
        if role in objects:
            return objects[role]
        if role not in roles:
            return None
        return builder.reward() if role is Role.REWARD else builder.writer(role)

    specs = [str(config.draft), str(config.target), config.reward.spec]
    downloads = any(spec.startswith("hf:") and not Path(spec[3:]).exists() for spec in specs)
    try:
        with quiet_libraries(bars=downloads):
            return Models(model(Role.DRAFT), model(Role.TARGET), model(Role.REWARD))
    except BaseException:
        builder.close()
        raise


def _as_problem(config: RunConfig, question: object, id: str) -> Problem:
    """A problem of what the caller gave.

    Raises:
        InputError: it is no question.
    """
    if isinstance(question, Problem):
        if not question.messages:
            raise InputError(f"problem {question.id!r} has no messages: use Problem.ask(question)")
        return question
    if isinstance(question, str):
        check_question(question)
        return build_problem(config, question, id=id)
    if not isinstance(question, Sequence) or isinstance(question, bytes):
        raise InputError(
            f"a question must be a text, a list of messages or a Problem, not {question!r:.80}"
        )
    *before, asked = read_messages(cast("Sequence[object]", question))
    if asked.role != "user":
        raise InputError("a conversation must end with a message of the user: the question")
    check_question(asked.content)
    return build_problem(config, asked.content, id=id, before=before)


def _check_options(options: Mapping[str, Any]) -> None:
    """Whether the options of a call are known and of their kind.

    Raises:
        ConfigError: one is not.
    """
    if unknown := sorted(options.keys() - SolveOptions.__annotations__.keys()):
        known = ", ".join(SolveOptions.__annotations__)
        raise ConfigError(
            f"unknown option {', '.join(unknown)}: a call takes {known}; everything else is given "
            "to load()"
        )
    for name in ("seed", "sample"):
        if not isinstance(value := options.get(name, 0), Integral):
            raise ConfigError(f"{name} {value!r} must be a whole number")
    deadline: Any = options.get("deadline_s")
    if deadline is not None and not (isinstance(deadline, Real) and float(deadline) > 0):
        raise ConfigError(f"deadline_s {deadline!r} must be a positive number of seconds")
