"""The scheduler: the only part that decides when to ask."""
