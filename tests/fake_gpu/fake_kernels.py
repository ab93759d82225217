"""Operators of the fake GPU: the autocast rules of CUDA, and kernels that CUDA has and others take apart."""

import re
from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

OPERATORS = torch.library.Library("aten", "IMPL")
OTHERS = torch.library.Library("_", "IMPL")
AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.__members__["AutocastPrivateUse1"])
HALF = (torch.bfloat16, torch.float16)
# With a kernel of the device's own they are one launch, as on CUDA, and have a gradient that is one launch too.
FUSED = ("_fused_rms_norm", "_fused_rms_norm_backward", "silu_backward")


@cache
def autocast_rules() -> dict[str, list[str]]:
    """CUDA's rules: policy to operators as NAME.OVERLOAD, from the header of the torch that is installed."""
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    found = {}
    for policy in ("LOWER_PRECISION_FP", "FP32", "FP32_SET_OPT_DTYPE", "PROMOTE"):
        (body,) = re.findall(rf"#define AT_FORALL_{policy}\(_\)((?:.*\\\n)+.*\n)", header)
        names = re.findall(r"_\((\w+)(?:, (\w+))?\)", body)
        found[policy] = [f"{name}.{overload or 'default'}" for name, overload in names]
    return found


class CastWeights:
    """The weights as this forward pass has cast them: each once, until the outermost autocast ends."""

    def __init__(self) -> None:
        self._cast: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def clear(self) -> None:
        self._cast.clear()

    def of(self, weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        if id(weight) not in self._cast:
            self._cast[id(weight)] = (weight, weight.to(dtype))  # kept, so that no other gets its id
        return self._cast[id(weight)][1]


def register(device: torch.device, weights: CastWeights) -> None:
    """Give ``device`` the rules and the kernels; once a process."""
    casts: dict[str, Callable[[Any, Any], Any]] = {
        "LOWER_PRECISION_FP": lambda _, given: _cast(device, weights, torch.get_autocast_dtype(device.type), given),
        "FP32": lambda _, given: _cast(device, weights, torch.float32, given),
        "FP32_SET_OPT_DTYPE": lambda operator, given: _with_dtype(device, operator, given),
        "PROMOTE": lambda _, given: _cast(device, weights, _widest(given), given),
    }
    for policy, names in autocast_rules().items():
        for name in names:
            operator = reduce(getattr, name.split("."), torch.ops.aten)
            OPERATORS.impl(name.removesuffix(".default"), _autocast(operator, casts[policy]), "AutocastPrivateUse1")
    OTHERS.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in FUSED:
        OPERATORS.impl(name, _no_kernel, "PrivateUse1")
    for key in ("AutogradPrivateUse1", "PrivateUse1"):
        OPERATORS.impl("scaled_dot_product_attention", _attention, key)


def _autocast(operator: Any, cast: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(AUTOCAST):
            args, kwargs = cast(operator, (args, kwargs))
            return operator(*args, **kwargs)

    return run


def _eligible(value: torch.Tensor, device: torch.device) -> bool:
    return value.device.type == device.type and value.is_floating_point() and value.dtype != torch.float64


def _cast(device: torch.device, weights: CastWeights, dtype: torch.dtype, given: Any) -> Any:
    def cast(value: torch.Tensor) -> torch.Tensor:
        if value.dtype == dtype or not _eligible(value, device):
            return value
        trained = value.is_leaf and value.requires_grad and value.dtype == torch.float32
        return weights.of(value, dtype) if trained and dtype in HALF else value.to(dtype)

    return tree_map_only(torch.Tensor, cast, given)


def _with_dtype(device: torch.device, operator: Any, given: Any) -> Any:
    """Sums and the like add up in float32 by themselves; nothing is cast beforehand."""
    args, kwargs = given
    if not _eligible(args[0], device):
        return given
    names = [argument.name for argument in operator._schema.arguments]
    named = dict(zip(names, args, strict=False)) | kwargs
    return (), {**named, "dtype": named.get("dtype") or torch.float32}


def _widest(given: Any) -> torch.dtype:
    dtypes = {value.dtype for value in tree_leaves(given) if isinstance(value, torch.Tensor)}
    return next(iter(dtypes & set(HALF)), torch.float32) if torch.float32 not in dtypes else torch.float32


def _no_kernel(*_: Any) -> Any:
    raise AssertionError("fake tensors have no content to compute with")


def _attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """The kernel that CUDA takes for the types at hand; without a mask."""
    assert attn_mask is None and not enable_gqa
    if query.dtype in HALF:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
    backward = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    return efficient(query, key, value, None, backward, dropout_p, is_causal, scale=scale)[0]
