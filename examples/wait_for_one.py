"""From an execution ID to its verified output, against a simulated dispatcher. Run it as it is."""

import asyncio
import sys

from truebit_async import StillRunningError, TruebitSession
from truebit_async.testing import Simulator


async def main() -> None:
    """Ask once, then wait."""
    async with Simulator() as dispatcher:
        dispatcher.add("my-execution", running_for=1.0, output="1764")

        async with TruebitSession(dispatcher.url) as session:
            execution = await session.get_execution_status("my-execution")
            try:
                sys.stdout.write(f"{execution.output}\n")
            except StillRunningError as error:
                sys.stdout.write(f"{error}\n")

            execution = await session.wait_for_verification("my-execution", deadline=30)
            sys.stdout.write(f"{execution.verification_status.value}: {execution.output}\n")

        sys.stdout.write(f"{len(dispatcher.requests)} requests\n")


asyncio.run(main())
