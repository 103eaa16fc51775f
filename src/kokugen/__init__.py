"""kokugen (刻限, the appointed time): a durable scheduler of one-off and recurring tasks.

Its names are those of `kokugen.public`. They are loaded at first use, since loading them takes longer than
`kokugen --help` may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kokugen.public import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Load the public names, `__all__` among them, when one is asked for."""
        if name[0].isalpha() or name == "__all__":
            import kokugen.public as public  # noqa: PLR0402 - `from kokugen import` would come back here

            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        """Return the public names."""
        return __getattr__("__all__")
