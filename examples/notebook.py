# %% [markdown]
"""Verified results in a notebook.

Open this file in VS Code, in PyCharm or, with jupytext, in Jupyter, and run it cell by cell. It needs no network and no
key: its first cell starts a simulated dispatcher.
"""

# %%
from contextlib import AsyncExitStack

from tenacity import wait_fixed

from truebit_async import PollPolicy, StillRunningError, TruebitSession
from truebit_async.testing import Simulator

running = AsyncExitStack()  # what the last cell stops
dispatcher = await running.enter_async_context(Simulator())
dispatcher.add("forecast", polls=2, output="1764")
dispatcher.add("backtest", polls=1, output="0.93")
dispatcher.add("bad-input", execution_status="failed")
dispatcher.add("too-slow", status="Indeterminate")

# A session lives as long as the notebook, and its cells share it. Leave the URL out to use the real dispatcher.
policy = PollPolicy(wait=wait_fixed(0.2), deadline=30)
session = await running.enter_async_context(TruebitSession(dispatcher.url, policy=policy))

# %% How is it doing?
execution = await session.get_execution_status("forecast")
try:
    print(execution.output)
except StillRunningError as error:
    print(error)

# %% Wait for it
execution = await session.wait_for_verification("forecast")
print(execution.verification_status.value, execution.output)

# %% Wait for many: each ID has an outcome, whatever happens to it
execution_ids = ["forecast", "backtest", "bad-input", "too-slow", "mistyped"]
outcomes = [outcome async for outcome in session.wait_for_verifications(execution_ids)]

# %% A table of them
for outcome in outcomes:
    found = outcome.execution
    status = found.verification_status.value if found else type(outcome.error).__name__
    output = found.output if found and found.succeeded else "-"
    print(f"{outcome.execution_id:<10} {status:<22} {output:<5} {outcome.polls} polls")

# %% Stop what the first cell started
await running.aclose()
