"""Treatment of a network block by block, in place, before it trains: compiling it, and keeping less of it."""

import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from moda.errors import UserError

STAGES = (0, 1, 2)  # of ZeRO; 3 brings weights together while a block runs: that has not been shown to work
COMPILERS = ("gcc", "cc", "clang")
RECOMPILE_LIMIT = 64  # blocks share their code: each kind of block, batch size and gradient mode is a graph of it


def prepare_blocks(network: nn.Module, config: Mapping[str, Any]) -> None:
    """What the configuration of a training asks for: compile, with the stage of its strategy, and recompute."""
    wanted, stage = config["compile"], config["strategy"].get("stage", 0)
    if wanted not in (True, False, "auto"):
        raise UserError(f"compile={wanted}: must be true, false or auto")
    if wanted == "auto":
        wanted = why_not_compiled(network, stage, config["trainer"]["accelerator"]) is None
    if wanted:
        compile_blocks(network, stage)
    if config["recompute"]:
        recompute_blocks(network)


def compile_blocks(network: nn.Module, stage: int = 0, backend: str = "inductor") -> None:
    """Compile each of ``network.blocks``, in place: names of weights stay as they are, without ``_orig_mod.``.

    A block must be one graph; a break in it is an error and not a slow step. The first step takes as long
    as compiling does (see watchdog.first). stage: of ZeRO. Raises UserError for a network without blocks,
    for blocks of torch's own, and for a stage that is not in ``STAGES``.
    """
    if reason := _why_not(network, stage):
        raise UserError(f"compile=true: {reason}")
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    for block in network.blocks:  # type: ignore[union-attr]
        block.compile(fullgraph=True, backend=backend)


def why_not_compiled(network: nn.Module, stage: int, accelerator: str) -> str | None:
    """Why ``compile: auto`` leaves a network as it is, None where it compiles it."""
    if accelerator == "cpu":
        return "there is little to gain on a CPU"
    if not importlib.util.find_spec("triton"):
        return "triton is not installed"
    if not (os.environ.get("CC") or any(map(shutil.which, COMPILERS))):
        return f"triton needs a C compiler, none of {', '.join(COMPILERS)} is here"
    return _why_not(network, stage)


def _why_not(network: nn.Module, stage: int) -> str | None:
    if stage not in STAGES:
        return "not supported with strategy=deepspeed_3; use deepspeed_2, or compile=false"
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        return f"a {type(network).__name__} has no blocks to compile; leave it out"
    if any(isinstance(block, nn.TransformerDecoderLayer) for block in blocks):  # torch leaves its own layers out
        return f"the blocks of a {type(network).__name__} cannot be compiled; leave it out"
    return None


def recompute_blocks(network: nn.Module) -> None:
    """Keep only what goes into each block for the backward pass, which computes the rest again (Chen et al., 2016).

    Raises UserError for a network without this choice.
    """
    if not hasattr(network, "recompute"):
        raise UserError(f"recompute=true: a {type(network).__name__} cannot compute its blocks again; leave it out")
    network.recompute = True  # type: ignore[assignment]
