"""Lets a signal that strikes while a plugin is imported end the program as the signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

Handler: TypeAlias = Callable[[int, FrameType | None], Any]

NOTED = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Generator[None]:
    """Raise what a signal's handler raised within, whatever became of that on its way out.

    A Ctrl-C is an exception somewhere inside of an import. pydantic makes a `SchemaError` of any
    exception that strikes while it builds a model, and a plugin may swallow what it likes; so what
    the handler raised is kept here and raised again. Signals are not held back: an import that
    takes minutes can be interrupted at once.

    Outside of the main thread, which alone runs handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised: list[BaseException] = []

    def noting(handler: Handler) -> Handler:
        def note(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                raised.append(error)
                raise

        return note

    replaced: list[tuple[signal.Signals, Handler, Handler]] = []
    for number in NOTED:
        handler = signal.getsignal(number)
        if callable(handler):  # and not one that the system carries out by itself
            note = noting(handler)
            replaced.append((number, handler, note))
            signal.signal(number, note)
    try:
        yield
    except BaseException as error:
        if raised and error is not raised[0]:
            raise raised[0] from error
        raise
    finally:
        for number, handler, note in replaced:
            if signal.getsignal(number) is note:  # else what was imported has set its own
                signal.signal(number, handler)
    if raised:
        raise raised[0]
