from __future__ import annotations

import pytest

from rsdecode.core.errors import RequestError
from rsdecode.core.requests import Decoding, Generate, Sampling, Start
from rsdecode.methods import RSD, Majority, Method
from rsdecode.session.cache_session import in_cache_session
from rsdecode.session.drive import abandon, drive
from rsdecode.session.job import Job
from tests.session.scripts import models, problems

METHODS: list[Method] = [RSD(), RSD(lookahead=1), Majority(3)]


def sessions(decoding: Decoding) -> set[str]:
    """The cache sessions of the first requests."""
    requests = next(decoding)
    return {
        (r.request if isinstance(r, Start) else r).session
        for r in requests
        if isinstance(r, Generate | Start)
    }


def test_requests_and_branches_are_renamed() -> None:
    [problem] = problems(1)
    assert sessions(in_cache_session("other", Job(problem, RSD()))) == {"other"}
    branches = sessions(in_cache_session("other", Job(problem, Majority(3))))
    assert branches == {"other/0", "other/1", "other/2"}
    assert sessions(in_cache_session("0/0", Job(problem, RSD()))) == {"0/0"}


def test_results_stay_the_same() -> None:
    for method in METHODS:
        for problem in problems(4):
            job = Job(problem, method, seed=5)
            renamed = drive(in_cache_session("other", job), models())
            assert renamed.steps == drive(job.start(), models()).steps


def test_failures_and_cancellations_reach_the_method() -> None:
    [problem] = problems(1)
    decoding = in_cache_session("other", Job(problem, RSD(draft_sampling=Sampling(0.5))))
    next(decoding)
    with pytest.raises(StopIteration) as end:
        decoding.throw(RequestError("no memory"))
    assert (end.value.value.stop_reason, end.value.value.error) == ("error", "no memory")
    fresh = in_cache_session("other", Job(problem, RSD()))
    assert abandon(fresh, "enough").error == "enough"
