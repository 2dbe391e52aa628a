"""A consumer that runs for ever: execution IDs from a message broker in, verified results out.

Run it from a checkout, with a simulated dispatcher whose IDs are the messages::

    truebit-async simulate --port 8080 | TRUEBIT_BASE_URL=http://127.0.0.1:8080 python examples/queue_consumer.py

A message is acknowledged after its outcome was passed on: a crash repeats some work and loses none. On SIGTERM and
Ctrl-C, whatever is not acknowledged is handed back at once.
"""

import asyncio
import itertools
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from dataclasses import dataclass

from truebit_async import ExecutionNotFoundError, InvalidExecutionIdError, TruebitSession
from truebit_async.checkpoint import outcome_as_json

HOPELESS = ExecutionNotFoundError, InvalidExecutionIdError  # the next consumer would fare no better


@dataclass(frozen=True)
class Message:
    """What the broker delivers. Several messages may be about one execution."""

    number: int
    execution_id: str


class Broker:
    """Stands in for yours: each line of stdin is a message, and stderr tells what becomes of it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=100)
        self._numbers = itertools.count(1)
        self._unacknowledged: dict[Message, None] = {}  # a set that keeps its order

    async def deliver(self) -> None:
        """Deliver messages as fast as they are taken, until there are no more."""
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        with closing(transport):
            async for line in lines:
                message = Message(next(self._numbers), line.decode().strip())
                self._unacknowledged[message] = None
                await self.queue.put(message)

    async def acknowledge(self, message: Message) -> None:
        """Take note that a message is done with."""
        del self._unacknowledged[message]
        print(f"acknowledged {message}", file=sys.stderr)

    async def hand_back(self, message: Message) -> None:
        """Take a message back, for another consumer or another time."""
        del self._unacknowledged[message]
        print(f"handed back {message}", file=sys.stderr)

    async def disconnect(self) -> None:
        """Take back whatever was delivered and not settled, as brokers do."""
        for message in list(self._unacknowledged):
            await self.hand_back(message)


async def consume(broker: Broker, session: TruebitSession) -> None:
    """Wait for whatever the broker delivers, and settle each message when its outcome is there."""
    messages: defaultdict[str, list[Message]] = defaultdict(list)

    async def execution_ids() -> AsyncGenerator[str, None]:
        while True:
            message = await broker.queue.get()
            messages[message.execution_id].append(message)
            yield message.execution_id  # if it is pending already, the outcome to come settles this message as well

    async with aclosing(session.wait_for_verifications(execution_ids(), max_pending=1000)) as outcomes:
        async for outcome in outcomes:
            print(outcome_as_json(outcome), flush=True)
            has_answer = outcome.execution is not None or isinstance(outcome.error, HOPELESS)
            settle = broker.acknowledge if has_answer else broker.hand_back
            for message in messages.pop(outcome.execution_id):
                await settle(message)


async def main() -> None:
    """Consume until a signal comes."""
    broker = Broker()
    try:
        async with TruebitSession() as session, asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(broker.deliver()), tasks.create_task(consume(broker, session))]

            def stop() -> None:
                for task in running:
                    task.cancel()

            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop)
    finally:
        await broker.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
