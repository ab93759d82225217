import torch
from torch import nn

from moda.models.embeddings import two_layer_mlp
from moda.training.draws import Draws
from moda.training.tracking.flops import known_peak, training_flops

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


def test_a_cpu_has_no_known_peak() -> None:
    assert known_peak(torch.device("cpu"), "bf16-mixed") is None
