import pytest
import torch

from moda.devices import exact_float32, resolve_device
from moda.errors import UserError


def test_exact_products_are_asked_for_on_gpus_alone_and_given_back() -> None:
    def switches() -> tuple:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = switches()
    with exact_float32(torch.device("cuda")):
        assert switches() == (False, False)
    assert switches() == before
    with exact_float32(torch.device("cpu")):
        assert switches() == before


def test_a_device_that_is_not_here_is_refused() -> None:
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(UserError, match="device 'no_such' cannot be used here"):
        resolve_device("no_such")
