"""A small server that speaks what the page reads, with answers written in advance.

So that errors, delays and texts that no model would write can be shown to the page.
"""

from __future__ import annotations

import json
import mimetypes
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

PAGE = Path(__file__).parents[3] / "src" / "rsdecode" / "server" / "page"
POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; object-src 'none'"
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}

Event = dict[str, Any]


class Draft(NamedTuple):
    """A step that the draft proposes, its reward, and what the target writes instead."""

    text: str
    reward: float
    correction: str = "The target's step.\n\n"


STEPS = (
    Draft("Adding the packs gives \\(24 + 3 \\cdot 15 = 69\\) buttons.\n\n", 0.97),
    Draft(
        "Taking away 19 leaves $69 - 19 = 60$ buttons.\n\n",
        0.12,
        "Taking away 19 leaves $69 - 19 = 50$ buttons.\n\n",
    ),
    Draft("So half of them would be $$\\frac{50}{2} = 25.$$\n\n", 0.84),
    Draft("The answer is \\boxed{50}.", 0.99),
)
INFO: Event = {
    "version": "0.1.0",
    "models": {"draft": "abacus:draft", "target": "abacus:target", "reward": "abacus:prm"},
    "methods": ["rsd", "target", "draft", "majority@8"],
    "method": "rsd",
    "threshold": 0.7,
    "weighting": "step",
    "max_tokens": 512,
    "storage": True,
    "auth": False,
    "note": "The embedded models only know word problems like the examples.",
    "examples": [
        "Olga has 74 cards. The number of cards grows to 6 times as many. How many?",
        "Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. "
        "How many buttons are there at the end?",
        "Mia counts 100 nails in the morning. Mia gives 10 percent of the nails away. How many?",
    ],
}


class Failure(NamedTuple):
    """A response that is no answer."""

    status: int
    message: str
    retry_after: str | None = None


class Cut:
    """The connection breaks here."""


Reply = Iterator[Event | float | Cut] | Failure
"""Top-level keys of chunks, seconds to wait, or the end of the connection."""


def answer(request: Mapping[str, Any], steps: tuple[Draft, ...] = STEPS) -> Iterator[Event]:
    """The chunks of an answer by the asked method at the asked threshold."""
    rsd: Mapping[str, Any] = request["rsd"]
    method, threshold = rsd["method"], rsd.get("threshold", 0.7)
    draft_tokens = target_tokens = accepted = 0
    for index, step in enumerate(steps):
        judged = method.startswith("rsd")
        if method != "target":
            yield from _written("draft", index, step.text)
            draft_tokens += 20
        if judged:
            yield {"rsd": {"event": "proposed", "choice": 0, "step": index, "candidate": 0,
                           "text": step.text, "finish_reason": "stop", "tokens": 20}}  # fmt: skip
            yield {"rsd": {"event": "scored", "choice": 0, "step": index, "candidate": 0,
                           "rewards": [step.reward]}}  # fmt: skip
        drafted = method == "draft" or (judged and step.reward >= threshold)
        accepted += drafted
        if not drafted:
            text = step.text if step.reward >= 0.7 else step.correction
            yield from _written("target", index, text)
            target_tokens += 20
        else:
            text = step.text
        weight = float(step.reward >= threshold)
        rejected = [{"text": step.text, "reward": step.reward, "weight": weight}]
        yield {"rsd": {"event": "decided", "choice": 0, "index": index, "text": text, "tokens": 20,
                       "source": "draft" if drafted else "target",
                       "reward": step.reward if judged else None,
                       "weight": weight if judged else None, "seconds": 0.1,
                       "rejected": rejected if judged and not drafted else []},
               "choices": [{"index": 0, "delta": {"content": text}}]}  # fmt: skip
    total = 2.7e5 * draft_tokens + 5.4e6 * target_tokens
    alone = 5.4e6 * 20 * len(steps)
    yield {"rsd": {"event": "finished", "choice": 0, "finish_reason": "eos", "steps": len(steps),
                   "answer": "60" if method == "draft" else "50",
                   "acceptance": accepted / len(steps) if method.startswith("rsd") else None,
                   "seconds": 0.4, "note": None,
                   "tokens": {"draft": draft_tokens, "target": target_tokens, "reward": 80},
                   "flops": {"total": total, "target_alone": alone,
                             "saved": 1 - total / alone}}}  # fmt: skip


def _written(role: str, step: int, text: str) -> Iterator[Event]:
    for place in range(0, len(text), 12):
        yield {"rsd": {"event": "delta", "choice": 0, "role": role, "step": step, "candidate": 0,
                       "text": text[place : place + 12]}}  # fmt: skip


class FakeServer:
    """Serves the page and answers that are written in advance (use as a context manager).

    Attributes:
        reply: what a request for an answer is given; tests replace it.
        info: what `/rsd/info` says.
        key: that requests must carry, if any.
        requests: bodies of all requests for answers.
        stored: trajectories by id.
        prefix: what a reverse proxy would put before all paths.
    """

    def __init__(self) -> None:
        self.reply: Callable[[dict[str, Any]], Reply] = answer
        self.info = dict(INFO)
        self.key: str | None = None
        self.requests: list[dict[str, Any]] = []
        self.stored: dict[str, Any] = {}
        self.prefix = ""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{self.prefix}/"

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: FakeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self._path()
            if path == "/":
                self._file(PAGE / "index.html")
            elif path.startswith("/page/"):
                self._file(PAGE / path.removeprefix("/page/"))
            elif not self._allowed():
                return
            elif path == "/rsd/info":
                self._json(200, server.info)
            elif path.startswith("/rsd/trajectories/"):
                found = server.stored.get(path.rpartition("/")[2])
                self._json(200, found) if found else self._fail(Failure(404, "no such trajectory"))
            else:
                self._fail(Failure(404, f"no such path: {path}"))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._allowed():
                return
            if self._path() == "/rsd/trajectories":
                name = f"t{len(server.stored)}"
                server.stored[name] = body
                self._json(200, {"id": name})
                return
            server.requests.append(body)
            reply = server.reply(body)
            if isinstance(reply, Failure):
                self._fail(reply)
            else:
                self._stream(reply)

        def _path(self) -> str:
            path = self.path.partition("?")[0]
            return path.removeprefix(server.prefix) if path.startswith(server.prefix) else "?"

        def _allowed(self) -> bool:
            good = server.key is None or self.headers["Authorization"] == f"Bearer {server.key}"
            if not good:
                given = self.headers["Authorization"] is not None
                message = "this key is not known" if given else "a key is needed"
                self._fail(Failure(401, message))
            return good

        def _stream(self, reply: Iterator[Event | float | Cut]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for part in reply:
                    if isinstance(part, Cut):
                        return
                    if isinstance(part, int | float):
                        time.sleep(part)
                        continue
                    chunk: Event = {"object": "chat.completion.chunk", "choices": []}
                    chunk.update(part)
                    self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                    self.wfile.flush()
                self.wfile.write(b"data: [DONE]\n\n")
            except (BrokenPipeError, ConnectionResetError):
                return

        def _file(self, path: Path) -> None:
            if not path.is_file():
                self._fail(Failure(404, f"no such file: {path.name}"))
                return
            kind = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
            self._send(200, path.read_bytes(), kind or "application/octet-stream")

        def _json(self, status: int, value: object, **headers: str) -> None:
            self._send(status, json.dumps(value).encode(), "application/json", **headers)

        def _fail(self, failure: Failure) -> None:
            error = {"message": failure.message, "type": "error", "param": None, "code": None}
            headers = {} if failure.retry_after is None else {"Retry-After": failure.retry_after}
            self._json(failure.status, {"error": error}, **headers)

        def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler
