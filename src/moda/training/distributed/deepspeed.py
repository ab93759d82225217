"""DeepSpeed ZeRO under Lightning, on GPUs and on CPUs."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.zero.stage3 import DeepSpeedZeroOptimizer_Stage3
from lightning.pytorch.plugins.precision import DeepSpeedPrecision
from lightning.pytorch.strategies import DeepSpeedStrategy
from torch import nn

from moda.training.checkpoints.masters import Masters, zero_1_2, zero_3
from moda.training.distributed.resources import Resources
from moda.training.distributed.strategies import PieceCheckpoints


class MixedPrecision(DeepSpeedPrecision):
    """bfloat16 weights and float32 masters by DeepSpeed, bfloat16 products by autocast.

    Lightning's own casts the whole batch, and with it targets and times, to bfloat16. Here the batch stays float32,
    and the module opens autocast itself, so a step computes what it does without DeepSpeed. Opened here, around the
    engine, it would be switched off inside on CUDA (deepspeed/runtime/torch_autocast.py).
    """

    def convert_input(self, data: Any) -> Any:
        return data

    def backward(self, tensor: torch.Tensor, model: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        # Lightning has divided the loss by the number of accumulated micro-batches: not once more
        super().backward(tensor, model, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def forward_context(self) -> AbstractContextManager:
        return nullcontext()


class ZeRO(PieceCheckpoints, DeepSpeedStrategy):
    """Lightning's strategy, without its limit to CUDA and with checkpoints that any strategy resumes."""

    @classmethod
    def of(cls, resources: Resources, stage: int, offload: str, settings: dict[str, Any]) -> "ZeRO":
        on_gpu = resources.on_gpu
        zero: dict[str, Any] = {
            "stage": stage,
            "contiguous_gradients": True,
            "overlap_comm": on_gpu,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 200_000_000,
            **settings,
        }
        if offload != "none":
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": on_gpu}
        if offload == "all":
            zero["offload_param"] = {"device": "cpu", "pin_memory": on_gpu}
        config = {
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,  # any torch optimizer will do: it steps flat tensors
            "zero_force_ds_cpu_optimizer": False,
            "train_micro_batch_size_per_gpu": 1,  # only its own report of speed asks for it
        }
        return cls(
            config=config,
            precision_plugin=MixedPrecision(resources.precision),  # type: ignore[arg-type]  # one of PRECISIONS
            process_group_backend="nccl" if on_gpu else "gloo",
            timeout=resources.patience,
        )

    def setup_environment(self) -> None:
        devices = self.parallel_devices or []
        if all(device.type == "cpu" for device in devices):  # DeepSpeed wants an index on each
            self.parallel_devices = [torch.device("cpu", index) for index in range(len(devices))]
            # Sums through shared memory: compiled at the first start, and only for ranks of one machine.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        # Past DeepSpeedStrategy's own, which refuses everything but CUDA.
        super(DeepSpeedStrategy, self).setup_environment()

    def make_masters(self, network: nn.Module) -> Masters:
        zero = self.deepspeed_engine.optimizer
        if isinstance(zero, DeepSpeedZeroOptimizer_Stage3):
            return zero_3(network, zero, self.global_rank, self.root_device)
        return zero_1_2(network, zero)

    def gradient_norm(self) -> torch.Tensor | float | None:
        """Norm of all gradients of the last step, before clipping."""
        return self.deepspeed_engine.get_global_grad_norm()
