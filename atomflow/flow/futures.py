"""Results that are not there yet, as inputs of steps, and calls that a step asks for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from atomflow.flow.keys import OutputOf
from atomflow.model import loads


class StepFuture(Future[Any]):
    """The result of a step that may not have run yet; can be an input of other steps.

    Attributes
    ----------
    step, key : str
        The key is empty for a step that cannot be kept.
    """

    def __init__(self, step: str, key: str) -> None:
        super().__init__()
        self.step, self.key = step, key
        #: The result as JSON, from which every step that waits for it gets a copy of its own.
        self.text: str | None = None

    def copy_of_result(self) -> Any:
        """What a step that waits for this one is given."""
        return self.result() if self.text is None else loads(self.text)


@dataclass(frozen=True)
class Call:
    """A step and its inputs, for a step that is made of steps to yield."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    """What a step made of steps yields: ``energy = yield call(single_point, atoms, spec)``."""
    return Call(function, args, kwargs)


def futures_in(inputs: Any) -> list[StepFuture]:
    """All futures anywhere in inputs."""
    found: list[StepFuture] = []
    replaced(inputs, StepFuture, found.append)
    return found


def as_output(future: StepFuture) -> OutputOf:
    """How a future stands in the key of a step that waits for it."""
    if not future.key:
        raise TypeError(f"the result of {future.step} has no key")
    return OutputOf(future.step, future.key)


def replaced(data: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Inputs with something else in the place of what is of one kind: futures, or the notes that stand for them."""
    if isinstance(data, kind):
        return change(data)
    if isinstance(data, list):
        return [replaced(item, kind, change) for item in data]
    if type(data) is tuple:
        return tuple(replaced(item, kind, change) for item in data)
    if isinstance(data, dict):
        return {key: replaced(item, kind, change) for key, item in data.items()}
    return data
