"""Gives a problem's requests a cache session of their own, where the usual name is taken.

The same problem may be in flight twice, by two methods say. Under one name each would rewind the
keys and values of the other.
"""

from __future__ import annotations

from dataclasses import replace

from rsdecode.core.errors import RsdError
from rsdecode.core.requests import Announce, Decoding, Drop, Request, Start
from rsdecode.session.job import Job


def in_cache_session(name: str, job: Job) -> Decoding:
    """The decoding of `job`, with requests that name the cache session `name`."""
    decoding = job.start()
    return decoding if name == job.cache_session else _renamed(decoding, job.cache_session, name)


def _renamed(decoding: Decoding, old: str, new: str) -> Decoding:
    try:
        requests = next(decoding)
        while True:
            try:
                replies = yield [_rename(request, old, new) for request in requests]
            except RsdError as error:
                requests = decoding.throw(error)
            else:
                requests = decoding.send(replies)
    except StopIteration as end:
        return end.value


def _rename(request: Request, old: str, new: str) -> Request:
    match request:
        case Announce():
            return request
        case Start() | Drop():
            inner = replace(request.request, session=new + request.request.session[len(old) :])
            return replace(request, request=inner)
        case _:
            return replace(request, session=new + request.session[len(old) :])
