"""Tools for testing code that uses this package: a simulated dispatcher, and an event loop on virtual time."""

from truebit_async.testing.replies import Reply
from truebit_async.testing.simulator import RecordedRequest, Simulator
from truebit_async.testing.virtual_time import VirtualTimeLoop

__all__ = ["RecordedRequest", "Reply", "Simulator", "VirtualTimeLoop"]
