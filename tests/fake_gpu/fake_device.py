"""The device ``fakegpu``, which torch takes for a GPU: its Python backend for PrivateUse1.

To import this is for good: a process that has done so ends by ``leave``, for torch aborts at a normal exit.
"""

import os
import sys
from typing import NoReturn

import torch
import torch.utils._device
from fake_kernels import CastWeights, register
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "fakegpu"


class _Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


def leave(status: int = 0) -> NoReturn:
    """End the process at once."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


torch.utils._device._device_constructors()  # torch keeps this list: before anyone replaces torch.randn
_setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
GPU = torch.device(NAME, 0)
CAST_WEIGHTS = CastWeights()
register(GPU, CAST_WEIGHTS)
