"""For the tests of whoever uses this package: a real dispatcher on loopback, and a loop on virtual time."""

from truebit_async.testing.replies import Reply
from truebit_async.testing.simulator import RecordedRequest, Simulator
from truebit_async.testing.virtual_time import VirtualTimeLoop

__all__ = ["RecordedRequest", "Reply", "Simulator", "VirtualTimeLoop"]
