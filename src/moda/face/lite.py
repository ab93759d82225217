"""Networks in TensorFlow Lite's format, run on one core by LiteRT."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from moda.errors import UserError


class LiteNetwork:
    """A network with one float32 input: fill ``input``, then call. Not for two threads at a time.

    ``input`` is one array that stays: to allocate a picture costs more than to fill it.
    """

    def __init__(self, model: bytes):
        interpreter_of = _interpreter()
        with _native_stderr_closed():  # it announces its kernels there
            self._interpreter = interpreter_of(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        self._input, self.input = entry["index"], np.zeros(entry["shape"], np.float32)
        self._outputs = [entry["index"] for entry in self._interpreter.get_output_details()]

    def __call__(self) -> list[np.ndarray]:
        """Outputs, in the order of the file."""
        self._interpreter.set_tensor(self._input, self.input)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _interpreter() -> type:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(f"face landmarks need LiteRT ({error}); run: pip install ai-edge-litert") from error
    return Interpreter


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    """Keep the start-up notices that native code writes to descriptor 2 off the terminal."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
