# %% [markdown]
"""Verified results in a notebook.

Open this file in VS Code, in PyCharm or, with jupytext, in Jupyter, and run it cell by cell. It needs no network and no
key, because its first cell starts a simulated dispatcher.
"""

# %%
from contextlib import AsyncExitStack

from tenacity import wait_fixed

from truebit_async import PollPolicy, StillRunningError, TruebitSession
from truebit_async.testing import Simulator

running = AsyncExitStack()  # the last cell closes it
dispatcher = await running.enter_async_context(Simulator())
dispatcher.add("forecast", polls=2, output="1764")
dispatcher.add("backtest", polls=1, output="0.93")
dispatcher.add("bad-input", execution_status="failed")
dispatcher.add("too-slow", status="Indeterminate")

# All cells share one session. Omit the URL to use the real dispatcher.
policy = PollPolicy(wait=wait_fixed(0.2), deadline=30)
session = await running.enter_async_context(TruebitSession(dispatcher.url, policy=policy))

# %% Get the status
execution = await session.get_execution_status("forecast")
try:
    print(execution.output)
except StillRunningError as error:
    print(error)

# %% Wait for the result
execution = await session.wait_for_verification("forecast")
print(execution.verification_status.value, execution.output)

# %% Wait for a batch: each ID gets an outcome, also if it has no final state
execution_ids = ["forecast", "backtest", "bad-input", "too-slow", "mistyped"]
outcomes = [outcome async for outcome in session.wait_for_verifications(execution_ids)]

# %% Print a table of the outcomes
for outcome in outcomes:
    status = outcome.execution.verification_status.value if outcome.execution else type(outcome.error).__name__
    output = outcome.output if outcome.succeeded else "-"
    print(f"{outcome.execution_id:<10} {status:<22} {output:<5} {outcome.polls} polls")

# %% Close the session and stop the dispatcher
await running.aclose()
