"""Whether time went as it should: did this process stand still, or did somebody set the clock?

Nothing depends on being told: leases go by the boot clock, and what is due is compared with the wall clock each time.
It explains to the operator what follows, and has the engine look at once.
"""

from __future__ import annotations

from kokugen.clock import SECOND_US, STEP_S, Clock


class Pulse:
    """Is looked at now and again. A look later than `gap_s` after the last one means that the process stood still."""

    def __init__(self, clock: Clock, *, gap_s: float) -> None:
        self._clock = clock
        self._gap_s = gap_s
        self._wall_s, self._boot_s = self._now()

    def look(self) -> str | None:
        """Return what happened since the last look, in words; None where nothing did."""
        wall_s, boot_s = self._now()
        gap_s = boot_s - self._boot_s
        step_s = wall_s - self._wall_s - gap_s
        self._wall_s, self._boot_s = wall_s, boot_s
        if abs(step_s) > STEP_S:
            return f"the wall clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):.1f} s"
        if gap_s > self._gap_s:
            return f"this process stood still for up to {gap_s:.0f} s, or its engine was kept from running"
        return None

    def _now(self) -> tuple[float, float]:
        return self._clock.wall_us() / SECOND_US, self._clock.boot_s()
