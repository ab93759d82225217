"""The same work for each of many files, over processes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from moda.errors import UserError
from moda.progress import progress

Task = TypeVar("Task")


def for_each(act: Callable[[Task], object], tasks: Sequence[Task], processes: int, title: str) -> dict[int, str]:
    """Call ``act`` on every task; returns task number -> reason of those that raised a UserError.

    act: a function of a module, and tasks that can be pickled, as ``processes`` beyond one are spawned.
    An interrupt ends it at once: what ``act`` has finished by then is its own to keep. Raises UserError
    when a process dies, as for want of memory.
    """
    failed: dict[int, str] = {}
    with progress(title, len(tasks), "videos") as advance:
        if processes == 1 or len(tasks) < 2:
            for number, task in enumerate(tasks):
                _note(failed, number, lambda task=task: act(task))
                advance()
            return failed
        with ProcessPoolExecutor(min(processes, len(tasks)), mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(act, task): number for number, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    _note(failed, futures[future], future.result)
                    advance()
            except BrokenProcessPool as error:
                raise UserError(
                    f"{title}: one of {processes} processes died, perhaps for want of memory; "
                    "run the same command again, with fewer processes if it happens again"
                ) from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return dict(sorted(failed.items()))


def _note(failed: dict[int, str], number: int, act: Callable[[], object]) -> None:
    try:
        act()
    except UserError as error:
        failed[number] = str(error)
