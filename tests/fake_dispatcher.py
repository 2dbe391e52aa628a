"""What the poller polls in its tests: an async fetch on virtual time that plays scripts and keeps a log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from truebit_async import Execution, VerificationStatus
from truebit_async._pacing import Pacer
from truebit_async._poller import Poller
from truebit_async.events import Announcer, Listener

RUNNING = VerificationStatus.RUNNING
SUCCESS = VerificationStatus.SUCCESS

Step = VerificationStatus | Exception


class FakeDispatcher:
    """Answers after ``latency`` seconds; each ID plays its script, whose last step is repeated. Unscripted IDs run."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.scripts: dict[str, list[Step]] = {}
        self.log: list[tuple[float, str]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.cancelled: Counter[str] = Counter()
        self.request_timeouts: list[float] = []
        self.listener: Listener | None = None

    def script(self, execution_id: str, *steps: Step) -> None:
        self.scripts[execution_id] = list(steps)

    async def fetch(self, execution_id: str, request_timeout: float) -> Execution:
        self.log.append((asyncio.get_running_loop().time(), execution_id))
        self.request_timeouts.append(request_timeout)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled[execution_id] += 1
            raise
        finally:
            self.in_flight -= 1
        steps = self.scripts.get(execution_id, [RUNNING])
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(step, Exception):
            raise step
        return Execution(execution_id, step)

    def times(self, execution_id: str) -> Sequence[float]:
        return [round(time, 6) for time, polled in self.log if polled == execution_id]

    def poller(self, max_concurrency: int = 10**9, max_rate: float | None = None) -> Poller:
        return Poller(self.fetch, Pacer(max_concurrency, max_rate), Announcer(self.listener))
