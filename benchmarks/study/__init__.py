"""A study of when to poll: simulated executions, strategies that decide when to ask for their status, and an oracle."""
