"""How much arithmetic a training step is, and how much a device can do at most."""

import copy

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moda.build import build
from moda.data.windows import Batch
from moda.gpus import is_slice
from moda.training.base import TrainingModule
from moda.training.draws import Draws
from moda.training.tracking.gemm import dtype_of, square_rate

# Dense products of bfloat16 with float32 sums, operations a second, from NVIDIA's data sheets. Those
# print twice as much for some devices: that is with half of the weights zero. The first match counts.
BF16_PEAKS = (
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("B200", 2250e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("A10", 125e12),
)


def training_flops(module: TrainingModule, batch: Batch) -> float:
    """Floating point operations of forward and backward on ``batch``; a multiplication and an addition are two.

    Counted on a network of the same specification whose tensors have shapes and no content, so it costs
    no memory and does not touch the one in training, however that is sharded or compiled. Recomputed
    activations are not counted: MFU asks for the model's arithmetic (Chowdhery et al., PaLM, appendix B).
    """
    twin = copy.copy(module)
    draws = Draws(module.setup_.seed, "flops", batch["index"], module.device)
    with FakeTensorMode(allow_non_fake_inputs=True), sdpa_kernel(SDPBackend.MATH):
        with module.device:
            twin._modules = {**module._modules, "network": build(module.network_spec)}
        with FlopCounterMode(display=False) as counter:
            twin.losses(batch, draws)["loss"].backward()
    return float(counter.get_total_flops())


def known_peak(device: torch.device, precision: str) -> float | None:
    """Operations a second by the data sheet, in a precision of Lightning's Trainer; None where not known, or of a slice."""
    if device.type != "cuda" or not precision.startswith("bf16"):
        return None
    name = torch.cuda.get_device_name(device)
    if is_slice(name):
        return None
    return next((peak for part, peak in BF16_PEAKS if part in name), None)


def peak_rate(device: torch.device, precision: str) -> float:
    """Operations a second of a device at its best: of its data sheet, else of a large product measured here."""
    return known_peak(device, precision) or square_rate(device, dtype_of(precision))
