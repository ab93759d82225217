"""Frames are decoded in a thread of their own while networks look at those before."""

from collections.abc import Callable, Iterable, Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(make: Callable[[], Iterable[T]], depth: int = 2) -> Iterator[T]:
    """Yield from ``make()``, which a thread runs, up to ``depth`` items ahead.

    What it raises is raised here, in its place. Closing the iterator ends the thread.
    """
    waiting: Queue = Queue(depth)
    stop = Event()

    def put(item: object) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def run() -> None:
        try:
            for item in make():
                if not put((item, None)):
                    return
        except BaseException as error:  # raised where the items are taken
            put((None, error))
        put(_END)

    thread = Thread(target=run, daemon=True, name="decoding ahead")
    thread.start()
    try:
        while (got := waiting.get()) is not _END:
            item, error = got
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()
