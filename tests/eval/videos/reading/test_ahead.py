"""Frames decoded ahead come in order, with their errors, and no thread is left."""

import threading
from collections.abc import Iterator

import pytest

from moda.eval.videos.reading.ahead import ahead


def test_items_come_in_order() -> None:
    assert list(ahead(lambda: range(100), depth=3)) == list(range(100))


def test_an_error_comes_after_what_was_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    items = ahead(make)
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)


def test_no_more_is_made_than_asked_for_and_closing_ends_the_thread() -> None:
    made = []

    def make() -> Iterator[int]:
        for i in range(1000):
            made.append(i)
            yield i

    items = ahead(make, depth=2)
    assert next(items) == 0
    items.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(made) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name == "decoding ahead"]
