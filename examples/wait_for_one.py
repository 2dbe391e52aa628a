"""Get the verified output of one execution from a simulated dispatcher. It needs no arguments."""

import asyncio

from truebit_async import StillRunningError, TruebitSession
from truebit_async.testing import Simulator


async def main() -> None:
    """Ask once, then wait."""
    async with Simulator() as dispatcher:
        dispatcher.add("my-execution", running_for=1.0, output="1764")

        async with TruebitSession(dispatcher.url) as session:
            execution = await session.get_execution_status("my-execution")
            try:
                print(execution.output)
            except StillRunningError as error:
                print(error)

            execution = await session.wait_for_verification("my-execution", deadline=30)
            print(f"{execution.verification_status.value}: {execution.output}")

        print(f"{len(dispatcher.requests)} requests")


asyncio.run(main())
