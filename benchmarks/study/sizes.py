"""How large the experiments are."""

from __future__ import annotations

import attrs


@attrs.frozen
class Sizes:
    """How many executions the experiments simulate.

    Attributes:
        main: executions of a law in the main comparisons.
        moderate: executions of a law where fewer are enough.
        batch: executions of a batch that starts all at once.
        runs: repetitions of what one run would show with too much noise.
        before: executions before a law changes, and about as many after it.
        capped: executions under a cap.
        rate: the cap, in requests per second.
        real: executions of a law in a real session.
    """

    main: int = 10_000
    moderate: int = 4000
    batch: int = 1000
    runs: int = 8
    before: int = 1000
    capped: int = 20_000
    rate: int = 200
    real: int = 1000


FULL = Sizes()
SHORT = Sizes(main=400, moderate=300, batch=100, runs=2, before=150, capped=100, rate=4, real=20)
