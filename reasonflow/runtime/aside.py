"""Model calls beside a function of a run: they are its own and paid for, but nothing waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from reasonflow.backends.protocol import Completion, Observer, Piece, Request
from reasonflow.errors import RunError
from reasonflow.runtime.inside import Inside
from reasonflow.runtime.record import Run
from reasonflow.runtime.values import Cost

if TYPE_CHECKING:
    from reasonflow.runtime.runtime import Runtime
    from reasonflow.runtime.where import Indices


class Aside:
    """Stands for the function (`Inside`) where such a call is made: `surrounded(inside=Aside(inside, (2, 0)))`.

    It is recorded in the run as "aside", counts among the calls that the function declared, and lies on no path. It is
    one call, so that what goes wrong beside the function does not spend what the function needs.

    place: numbers of its own among the asides of the function, at least two: its seed and its place in a journal follow
        from them, whatever ends first.
    """

    def __init__(self, function: Inside, place: Indices) -> None:
        self.function = function
        self.place = place
        self.made = False
        """Whether the call has been made."""
        self.written = 0
        """Output tokens of the call that has ended, or was taken out of the engine."""

    @property
    def home(self) -> Runtime:
        """The engine on whose loop the run lives."""
        return self.function.home

    async def ask(self, runtime: Runtime, request: Request, observe: Observer | None = None) -> Completion:
        """As `Inside.ask`, on the home's loop. Raises RunError for a second call, too."""
        self._take()

        def told(seen: Piece | tuple[int, Completion]) -> None:
            if not isinstance(seen, Piece):
                self.written += seen[1].output_tokens
            if observe is not None:
                observe(seen)

        return await self.function.ask(runtime, request, told, aside=self.place)

    async def program(self, run: Run, calls: int) -> tuple[tuple[int, ...], Cost]:
        """As `Inside.program`: a program in place of the call. Raises RunError for a second one, too."""
        self._take()
        return await self.function.program(run, calls)

    async def ended(self, run: Run, place: tuple[int, ...], before: Cost) -> None:
        """As `Inside.ended`."""
        self.written += run.usage.output_tokens
        await self.function.ended(run, place, before)

    def _take(self) -> None:
        if self.made:
            raise RunError(
                f"a call beside {self.function.node} asks a model again",
                why="what nothing waits for is one call, as the bounds of the program count it",
                fix="give it an adapter that asks once",
            )
        self.made = True

    def __deepcopy__(self, memo: dict[int, object]) -> Aside:
        return self  # travels in DSPy's settings, which are copied


Asking: TypeAlias = Inside | Aside
"""What the model calls of a function are made with."""
