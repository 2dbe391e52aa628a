"""Policies that several tests use."""

from tenacity import wait_fixed

from truebit_async import PollPolicy

FAST = PollPolicy(wait=wait_fixed(0.01), deadline=10, request_timeout=5)
"""For tests over real sockets, which cannot have virtual time."""
