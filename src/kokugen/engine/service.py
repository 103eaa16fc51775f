"""What may go on beside the engine's own loops: deciding about schedules, declaring them, and keeping limits."""

from __future__ import annotations

from typing import Protocol


class Service(Protocol):
    """What goes on beside the engine's own loops, for as long as it runs."""

    async def prepare(self) -> None:
        """Do what has to be done before anything is claimed. Raises RepositoryError."""
        ...

    async def run(self) -> None:
        """Go on until it is cancelled. Does not raise."""
        ...

    def hint(self) -> None:
        """Take note that a task ended whose end matters to its schedule."""
        ...
