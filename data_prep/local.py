"""Tasks in processes of this machine, of which any may die without taking the others' work along."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from multiprocessing import get_context
from multiprocessing.connection import Connection

from moda.data_prep.extract import Extractor
from moda.data_prep.journal import shown
from moda.data_prep.tasks import MAX_TRIES, WorkFolder, WorkList, run_task
from moda.errors import UserError

LOG_NAME = "decoder.log"
POLL = 0.5  # seconds between looks at the journals
PATIENCE = 10.0  # seconds that a process has to end by itself


def run_here(work: WorkFolder, plan: WorkList, extractor: Extractor) -> None:
    """All tasks in this process, with these models."""
    with shown(work.journal, plan.videos) as poll:

        def between() -> bool:
            poll()
            return False

        for number in range(len(plan.tasks)):
            run_task(work, plan, number, extractor, between)


def run_in_processes(work: WorkFolder, plan: WorkList, load: Callable[..., Extractor] = Extractor.of) -> None:
    """The tasks in ``settings.workers`` processes. load: makes a process' models; a function that can be imported."""
    numbers, lock = iter(range(len(plan.tasks))), threading.Lock()

    def take() -> int | None:
        with lock:
            return next(numbers, None)

    count = max(1, min(plan.settings.workers or 1, len(plan.tasks)))
    workers = [_Worker(work, index, load) for index in range(count)]
    pool = ThreadPoolExecutor(count)
    with shown(work.journal, plan.videos) as poll:
        try:
            running = [pool.submit(worker.run, plan, take) for worker in workers]
            while wait(running, POLL, FIRST_EXCEPTION).not_done and not any(
                r.done() and r.exception() for r in running
            ):
                poll()
            for future in running:
                if future.done():
                    future.result()
        finally:
            for worker in workers:
                worker.end()
            pool.shutdown()


class _Worker:
    """One process after another that does tasks, in the place of the one that died."""

    def __init__(self, work: WorkFolder, index: int, load: Callable[..., Extractor]):
        self.work, self.index, self.load = work, index, load
        self._ended = False
        self._lock = threading.Lock()
        self._process = None

    def run(self, plan: WorkList, take: Callable[[], int | None]) -> None:
        """Do tasks until there are none left; a task at which the process dies is begun again."""
        number = take()
        deaths = 0
        while number is not None and not self._ended:
            answer = self._ask(number)
            if isinstance(answer, str):
                raise UserError(answer)
            if answer:
                number, deaths = take(), 0
            else:
                deaths += 1
                if deaths > MAX_TRIES * len(plan.tasks[number]) + MAX_TRIES:
                    raise UserError(
                        f"the worker processes die one after the other; {self.work.path / LOG_NAME} says why"
                    )

    def _ask(self, number: int) -> bool | str:
        """Whether the process has done task ``number``; what is wrong where it cannot go on; False where it died."""
        try:
            connection = self._connection()
            connection.send(number)
            return connection.recv()
        except (EOFError, OSError):
            if self._process is not None and not self._ready and not self._ended:
                return f"a worker process could not be started; {self.work.path / LOG_NAME} says why"
            self._stop()
            return False

    def _connection(self) -> Connection:
        with self._lock:
            if self._process is None and not self._ended:
                context = get_context("spawn")  # the libraries at work here do not survive a fork
                self._pipe, theirs = context.Pipe()
                self._ready = False
                process = context.Process(target=_serve, args=(theirs, self.work, self.index, self.load), daemon=True)
                process.start()
                self._process = process
                theirs.close()
        if not self._ready:
            self._pipe.recv()  # loaded
            self._ready = True
        return self._pipe

    def end(self) -> None:
        """Ask the process to put its work away and go."""
        self._ended = True
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            process.join()
        self._pipe.close()


def _serve(connection: Connection, work: WorkFolder, index: int, load: Callable[..., Extractor]) -> None:
    """What a worker process does: the tasks it is sent, until nobody sends any."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cv2.setNumThreads(1)  # there is a process for every core
    write_errors_to(work)
    use_gpu(index)
    parent = os.getppid()
    plan = work.load()
    try:
        extractor = load(plan.settings)
    except UserError as error:
        connection.send("ready")
        connection.recv()
        connection.send(str(error))
        return
    if (torch := sys.modules.get("torch")) is not None:  # of a codec, an encoder or a network that judges
        torch.set_num_threads(1)
    connection.send("ready")
    while True:
        try:
            number = connection.recv()
        except EOFError:
            return
        try:
            run_task(work, plan, number, extractor, lambda: os.getppid() != parent)
        except UserError as error:
            connection.send(str(error))
            return
        connection.send(True)


def write_errors_to(work: WorkFolder) -> None:
    """Send what is written to standard error to the log: decoders complain about damaged files at length."""
    work.path.mkdir(parents=True, exist_ok=True)
    log = os.open(work.path / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)


def use_gpu(index: int) -> None:
    """Leave worker ``index`` one of the GPUs there are, in turn; must come before anything of CUDA is loaded.

    An empty CUDA_VISIBLE_DEVICES means that there are none.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(number) for number in range(len(list_gpus()))] if visible is None else visible.split(",")
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]


def list_gpus() -> list[str]:
    """Device files of NVIDIA's driver, one a GPU."""
    return sorted(name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdigit())
