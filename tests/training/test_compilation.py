"""Blocks compile to one graph each and compute what they did before."""

import shutil

import pytest
import torch
from torch import nn

from moda.errors import UserError
from moda.models.diagonal_decoder import DiagonalDecoder
from moda.models.mmdit import MMDiT
from moda.training import compilation
from moda.training.compilation import compile_blocks, prepare_blocks, recompute_blocks, why_not_compiled

STAGES = [
    {"depth": 1, "groups": [["motion"], ["audio"], ["emotion"], ["identity"]]},
    {"depth": 1, "groups": [["motion"], ["audio", "emotion", "identity"]]},
    {"depth": 1, "groups": [["motion", "audio", "emotion", "identity"]]},
]


def network() -> MMDiT:
    torch.manual_seed(0)
    made = MMDiT(
        5, 1, 6, 4, stages=STAGES, width=16, heads=2, context=2, controls={"pose": 3}, late_audio=2
    )  # every option: none of them may break a graph
    for parameter in made.parameters():  # off the zeros that training starts with
        nn.init.normal_(parameter, std=0.1)
    return made


def gradients(model: MMDiT, batch: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    model.zero_grad()
    out = model(
        torch.randn(batch, 8, 5, generator=generator),
        torch.rand(batch, generator=generator) * 1000,
        audio=torch.randn(batch, 8, 1, 6, generator=generator),
        identity=torch.randn(batch, 4, generator=generator),
        emotion=torch.arange(batch),
        previous_motion=torch.randn(batch, 2, 5, generator=generator),
        controls=torch.randn(batch, 8, 3, generator=generator),
    )
    out.square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_blocks_are_whole_graphs_and_equal_the_others(backend: str) -> None:
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = network(), network()
    compile_blocks(compiled, backend=backend)
    for batch in (3, 5) if backend == "eager" else (3,):  # another batch size, as in validation
        ours, theirs = gradients(compiled, batch), gradients(plain, batch)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-6, msg=name)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 3  # it did compile
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="compile=true: a Linear has no blocks"):
        compile_blocks(nn.Linear(1, 1))
    with pytest.raises(UserError, match="compile=true: the blocks of a DiagonalDecoder cannot be compiled"):
        compile_blocks(DiagonalDecoder(5, 1, 6, 4, width=16, heads=2, depth=1))
    with pytest.raises(UserError, match="compile=true: not supported with strategy=deepspeed_3"):
        compile_blocks(network(), stage=3)


def test_auto_compiles_on_gpus_what_can_be_compiled(monkeypatch) -> None:
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("CC", "gcc")
    assert why_not_compiled(network(), 2, "gpu") is None
    assert "CPU" in why_not_compiled(network(), 2, "cpu")
    assert "deepspeed_3" in why_not_compiled(network(), 3, "gpu")
    assert "no blocks" in why_not_compiled(nn.Linear(1, 1), 0, "gpu")
    monkeypatch.delenv("CC")
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    assert "C compiler" in why_not_compiled(network(), 0, "gpu")
    config = {"strategy": {}, "trainer": {"accelerator": "gpu"}, "recompute": False}
    compiled: list[nn.Module] = []
    monkeypatch.setattr(compilation, "compile_blocks", lambda network, stage: compiled.append(network))
    prepare_blocks(network(), {**config, "compile": "auto"})
    assert not compiled
    monkeypatch.setenv("CC", "gcc")
    prepare_blocks(network(), {**config, "compile": "auto"})
    assert len(compiled) == 1
    with pytest.raises(UserError, match="compile=yes: must be true, false or auto"):
        prepare_blocks(network(), {**config, "compile": "yes"})


def test_blocks_are_computed_again_where_that_is_possible() -> None:
    made = network()
    recompute_blocks(made)
    assert made.recompute
    with pytest.raises(UserError, match="recompute=true: a Linear cannot compute its blocks again"):
        recompute_blocks(nn.Linear(1, 1))
