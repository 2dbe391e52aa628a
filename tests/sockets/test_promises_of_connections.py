"""A connection that the server has closed, or on which it has spoken unasked, does no harm."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from tenacity import wait_fixed

from tests.promises import listening
from tests.sockets.raw_server import RawRequest, body_of, raw_server, relay, response
from truebit_async import PollEvent, PollPolicy, TruebitSession, VerificationStatus, errors
from truebit_async.events import BackedOff

SUCCESS = VerificationStatus.SUCCESS
RUNNING = VerificationStatus.RUNNING
POLICY = PollPolicy(wait=wait_fixed(0.02), deadline=10, request_timeout=5, max_consecutive_errors=1)
"""One failure ends a wait, so that whatever passes was not counted."""


def state(request: RawRequest, status: str = "Running") -> bytes:
    return response(body_of(status, request.execution_id))


# Closed by the server


class OneReplyPerConnection:
    """Answers the first request of each connection, and breaks the connection at the second, without an answer.

    Args:
        break_off: breaks it.
        polls: how many answers an ID takes until its final state.
    """

    def __init__(self, break_off: Callable[[RawRequest], None], polls: int = 4) -> None:
        self._break_off = break_off
        self._polls = polls
        self.answers = Counter[str]()
        self.stale = Counter[str]()

    def __call__(self, request: RawRequest) -> None:
        if request.number > 1:
            self.stale[request.execution_id] += 1
            self._break_off(request)
            return
        self.answers[request.execution_id] += 1
        is_final = self.answers[request.execution_id] >= self._polls
        request.send(state(request, "Success" if is_final else "Running"), after=0.005)


BREAKS = {"closed": RawRequest.close, "reset": RawRequest.reset}


@pytest.mark.parametrize("how", BREAKS)
async def test_a_stale_connection_is_no_failure_of_a_wait(how: str) -> None:
    answer = OneReplyPerConnection(BREAKS[how])
    ids = [f"id-{number}" for number in range(10)]
    async with (
        raw_server(answer) as server,
        TruebitSession(server.url, policy=POLICY, max_concurrency=3) as session,
    ):
        outcomes = [outcome async for outcome in session.wait_for_verifications(ids)]
    assert [outcome.error for outcome in outcomes] == [None] * 10
    assert [outcome.polls for outcome in outcomes] == [4] * 10
    assert sum(answer.stale.values()) > 0
    assert server.most_in_flight <= 3


@pytest.mark.parametrize("how", BREAKS)
async def test_each_stale_connection_takes_one_repetition_on_a_new_connection(how: str) -> None:
    answer = OneReplyPerConnection(BREAKS[how])
    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        await session.wait_for_verification("id")
    stale = [number for number, request in enumerate(server.requests) if request.number > 1]
    assert len(stale) >= 1
    assert len(server.requests) == 4 + len(stale)
    assert all(server.requests[number + 1].number == 1 for number in stale)


@pytest.mark.parametrize("how", BREAKS)
async def test_a_stale_connection_is_no_failure_of_a_status_request(how: str) -> None:
    answer = OneReplyPerConnection(BREAKS[how], polls=1)
    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        assert (await session.get_execution_status("first")).verification_status is SUCCESS
        assert (await session.get_execution_status("second")).verification_status is SUCCESS
    assert [(request.execution_id, request.number) for request in server.requests] == [
        ("first", 1),
        ("second", 2),
        ("second", 1),
    ]


async def test_the_repetition_comes_at_once_and_not_when_the_strategy_says() -> None:
    backed_off: list[PollEvent] = []

    def note(event: PollEvent) -> None:
        if isinstance(event, BackedOff):
            backed_off.append(event)

    policy = PollPolicy(wait=wait_fixed(60), deadline=10, max_consecutive_errors=1)
    answer = OneReplyPerConnection(RawRequest.close, polls=1)
    async with raw_server(answer) as server:
        async with TruebitSession(server.url, policy=policy, **listening(note)) as session:
            await session.get_execution_status("other")
            assert (await session.wait_for_verification("id")).verification_status is SUCCESS
        first, repeated = server.times("id")
    assert repeated - first < 2
    assert not backed_off


@pytest.mark.full
async def test_repetitions_take_their_turn_under_the_rate() -> None:
    answer = OneReplyPerConnection(RawRequest.close, polls=2)
    ids = [f"id-{number}" for number in range(10)]
    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY, max_rate=20) as session:
        outcomes = [outcome async for outcome in session.wait_for_verifications(ids)]
    assert [outcome.error for outcome in outcomes] == [None] * 10
    assert len(server.requests) >= 25
    assert server.most_per_second() <= 20 + 2  # one by the promise, and one that a busy loop has read late


@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("max_errors", [1, 3])
async def test_a_new_connection_that_breaks_is_a_failure(how: str, max_errors: int) -> None:
    policy = PollPolicy(wait=wait_fixed(0.01), deadline=5, max_consecutive_errors=max_errors)
    async with raw_server(BREAKS[how]) as server, TruebitSession(server.url, policy=policy) as session:
        [outcome] = [outcome async for outcome in session.wait_for_verifications(["id"])]
        assert isinstance(outcome.error, errors.TransportError)
        assert outcome.polls == max_errors
        assert len(server.requests) == max_errors
        server.requests.clear()
        with pytest.raises(errors.TransportError):
            await session.get_execution_status("id")
        assert len(server.requests) == max_errors


@pytest.mark.parametrize("how", BREAKS)
async def test_the_repetition_is_repeated_no_more(how: str) -> None:
    requests = itertools.count(1)

    def answer(request: RawRequest) -> None:
        if next(requests) == 1:
            request.send(state(request))
        else:
            BREAKS[how](request)

    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        [outcome] = [outcome async for outcome in session.wait_for_verifications(["id"])]
    assert isinstance(outcome.error, errors.TransportError)
    assert outcome.polls == 2
    assert [(request.connection, request.number) for request in server.requests] == [(1, 1), (1, 2), (2, 1)]


@pytest.mark.full
async def test_polls_as_far_apart_as_the_server_keeps_connections_fail_for_nobody() -> None:
    """The relay makes the closing by the server and the next request cross each other on the way."""
    polls = Counter[str]()

    def answer(request: RawRequest) -> None:
        polls[request.execution_id] += 1
        is_final = polls[request.execution_id] > 4
        request.send(state(request, "Success" if is_final else "Running"), after=0.01)

    policy = PollPolicy(wait=wait_fixed(1), deadline=25, max_consecutive_errors=1)
    ids = [f"id-{number}" for number in range(40)]
    idle_timeouts = [1 + step * 0.0002 for step in range(15)]  # no server is more exact
    async with (
        raw_server(answer, idle_timeouts=idle_timeouts) as server,
        relay(server, delay=0.0005) as relayed,
        TruebitSession(relayed.url, policy=policy, max_concurrency=40) as session,
    ):
        outcomes = [outcome async for outcome in session.wait_for_verifications(ids)]
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == []
    assert [outcome.polls for outcome in outcomes] == [5] * 40
    assert server.most_in_flight <= 40


# Spoken unasked

FALSE = response(body_of("Success", output="a lie"))
UNASKED = {
    "final state without an ID": (FALSE, b""),
    "final state of the next": (response(body_of("Success", "next", output="a lie")), b""),
    "404": (response(b'{"message": "unknown"}', status="404 Not Found"), b""),
    "503 with a pause": (response(b"", status="503 Busy", headers=b"Retry-After: 60\r\n"), b""),
    "half of a head": (FALSE[:20], FALSE[20:]),
    "half of a body": (FALSE[:-20], FALSE[-20:]),
    "interim response": (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
    "garbage": (b"\x16\x03\x01 this is not HTTP\r\n\r\n", b""),
    "empty line": (b"\r\n", b""),
}
"""What a server sends on an idle connection, and what it sends there before it answers the next request."""
DROPPED = {"half of a head", "empty line"}
"""What aiohttp's parser takes in without a trace. The next request may use the connection, but is answered truly."""


@pytest.mark.full
@pytest.mark.parametrize("is_with_the_answer", [False, True], ids=["later", "with the answer"])
@pytest.mark.parametrize("unasked", UNASKED)
async def test_a_connection_that_has_spoken_unasked_is_not_used_again(unasked: str, is_with_the_answer: bool) -> None:
    early, late = UNASKED[unasked]

    def answer(request: RawRequest) -> None:
        if request.execution_id != "first":
            truth = response(body_of("Success", request.execution_id, output="the truth"))
            request.send(late + truth if request.connection == 1 else truth)
        elif is_with_the_answer:
            request.send(state(request) + early)
        else:
            request.send(state(request))
            request.send_unasked(early, after=0.02)

    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        with contextlib.suppress(errors.TransportError):  # garbage with an answer may spoil it
            assert (await session.get_execution_status("first")).verification_status is RUNNING
        await asyncio.sleep(0.05)
        assert (await session.get_execution_status("next")).output == "the truth"
        assert (await session.wait_for_verification("last")).output == "the truth"
    if unasked not in DROPPED:
        assert [request.execution_id for request in server.requests if request.connection == 1] == ["first"]


@pytest.mark.parametrize("unasked", ["final state without an ID", "404"])
async def test_a_reply_that_nobody_asked_for_ends_no_wait(unasked: str) -> None:
    polls = itertools.count(1)

    def answer(request: RawRequest) -> None:
        if next(polls) < 6:
            request.send(state(request))
            request.send_unasked(UNASKED[unasked][0], after=0.01)
        else:
            request.send(response(body_of("Success", request.execution_id, output="the truth")))

    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        assert (await session.wait_for_verification("id")).output == "the truth"


@pytest.mark.parametrize("status", ["Success", "Indeterminate", "Error"])
@pytest.mark.parametrize("null", [False, True], ids=["missing", "null"])
async def test_a_final_status_must_name_the_execution(status: str, null: bool) -> None:
    body = body_of(status)
    if null:
        body = b'{"executionId": null, ' + body[1:]
    async with (
        raw_server(lambda request: request.send(response(body))) as server,
        TruebitSession(server.url, policy=POLICY) as session,
    ):
        with pytest.raises(errors.UnexpectedResponseError) as caught:
            await session.get_execution_status("id")
        assert type(caught.value) is not errors.DecodeError
        with pytest.raises(type(caught.value)):
            await session.wait_for_verification("id")


async def test_a_running_status_need_not_name_the_execution() -> None:
    polls = itertools.count(1)

    def answer(request: RawRequest) -> None:
        is_running = next(polls) < 3
        request.send(response(body_of("Running") if is_running else body_of("Success", "id")))

    async with raw_server(answer) as server, TruebitSession(server.url, policy=POLICY) as session:
        assert (await session.get_execution_status("id")).verification_status is RUNNING
        assert (await session.wait_for_verification("id")).output == "42"
