import torch
from torch import nn

from moda.models.embeddings import two_layer_mlp
from moda.training.draws import Draws
from moda.training.tracking.flops import known_peak, peak_rate, training_flops
from moda.training.tracking.gemm import dtype_of

SPEC = {"_target_": "moda.models.embeddings.two_layer_mlp", "dim": 5, "width": 7}
BATCH, FRAMES = 3, 11


class Stack(nn.Module):
    """Two linear layers, standing in for a training module."""

    network_spec = SPEC

    def __init__(self) -> None:
        super().__init__()
        self.network = two_layer_mlp(5, 7)
        self.device = torch.device("cpu")
        self.setup_ = type("Setup", (), {"seed": 0})

    def losses(self, batch: dict[str, torch.Tensor], draws: Draws) -> dict[str, torch.Tensor]:
        return {"loss": (self.network(batch["motion"]) - draws.normal(FRAMES, 7)).square().mean()}


def batch() -> dict[str, torch.Tensor]:
    return {"motion": torch.ones(BATCH, FRAMES, 5), "index": torch.arange(BATCH)}


def closed_form(inward: int, width: int) -> int:
    rows = BATCH * FRAMES
    forward = 2 * rows * (inward * width + width * width)
    # the weights' gradients cost as much again, and so does the input's, which only the second layer needs
    return 2 * forward + 2 * rows * width * width


def test_a_linear_stack_costs_what_its_products_do() -> None:
    module = Stack()
    assert training_flops(module, batch()) == closed_form(5, 7)


def test_counting_leaves_the_network_and_the_random_numbers_alone() -> None:
    module = Stack()
    weight = next(module.network.parameters())
    before, state = weight.detach().clone(), torch.get_rng_state()
    training_flops(module, batch())
    assert torch.equal(weight, before) and weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_a_device_without_a_data_sheet_is_measured_once_and_leaves_the_random_numbers_alone() -> None:
    cpu, state = torch.device("cpu"), torch.get_rng_state()
    assert known_peak(cpu, "bf16-mixed") is None
    measured = peak_rate(cpu, "32-true")
    assert measured > 1e8 and peak_rate(cpu, "32-true") == measured
    assert torch.equal(torch.get_rng_state(), state)


def test_the_data_sheet_counts_where_it_is_known(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    assert peak_rate(torch.device("cuda", 0), "bf16-mixed") == 989e12
    assert known_peak(torch.device("cuda", 0), "32-true") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200 MIG 1g.18gb")
    assert known_peak(torch.device("cuda", 0), "bf16-mixed") is None  # the sheet is of the whole card


def test_the_product_is_of_the_precision_that_is_trained_in() -> None:
    names = ("bf16-mixed", "bf16-true", "16-mixed", "32-true")
    assert [dtype_of(name) for name in names] == [torch.bfloat16, torch.bfloat16, torch.float16, torch.float32]
