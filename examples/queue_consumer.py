"""A consumer that runs without end: it reads execution IDs from a message broker, and prints verified results.

Run it from a checkout. A simulated dispatcher can provide the IDs::

    truebit-async simulate --port 8080 | TRUEBIT_BASE_URL=http://127.0.0.1:8080 python examples/queue_consumer.py

A message is acknowledged after its outcome was printed. A crash can repeat a message but does not lose one. On SIGTERM
and Ctrl-C, the consumer hands all unacknowledged messages back at once.
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

PERMANENT = ExecutionNotFoundError, InvalidExecutionIdError  # another consumer would get the same error


@dataclass(frozen=True)
class Message:
    """A message of the broker. Several messages may be about the same execution."""

    number: int
    execution_id: str


class Broker:
    """A stand-in for a real broker: each line of stdin is a message, and stderr shows what happens to it."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue(maxsize=100)
        self._numbers = itertools.count(1)
        self._unacknowledged: dict[Message, None] = {}  # an ordered set

    async def deliver(self) -> None:
        """Deliver messages as fast as the consumer takes them, until the end of stdin."""
        lines = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(lines)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        with closing(transport):
            async for line in lines:
                message = Message(next(self._numbers), line.decode().strip())
                self._unacknowledged[message] = None
                await self.queue.put(message)

    async def acknowledge(self, message: Message) -> None:
        """Acknowledge a message."""
        del self._unacknowledged[message]
        print(f"acknowledged {message}", file=sys.stderr)

    async def hand_back(self, message: Message) -> None:
        """Take a message back, to deliver it again."""
        del self._unacknowledged[message]
        print(f"handed back {message}", file=sys.stderr)

    async def disconnect(self) -> None:
        """Take back all messages that were delivered but not settled, as brokers do."""
        for message in list(self._unacknowledged):
            await self.hand_back(message)


async def consume(broker: Broker, session: TruebitSession) -> None:
    """Wait for the executions that the broker delivers, and settle each message when its outcome is known."""
    messages: defaultdict[str, list[Message]] = defaultdict(list)

    async def execution_ids() -> AsyncGenerator[str, None]:
        while True:
            message = await broker.queue.get()
            messages[message.execution_id].append(message)
            yield message.execution_id  # if it is pending already, its outcome settles this message too

    async with aclosing(session.wait_for_verifications(execution_ids(), max_pending=1000)) as outcomes:
        async for outcome in outcomes:
            print(outcome_as_json(outcome), flush=True)
            is_settled = outcome.execution is not None or isinstance(outcome.error, PERMANENT)
            settle = broker.acknowledge if is_settled else broker.hand_back
            for message in messages.pop(outcome.execution_id):
                await settle(message)


async def main() -> None:
    """Consume until a signal arrives."""
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
