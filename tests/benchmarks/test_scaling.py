"""The scaling model against closed forms."""

import pytest

from moda.bench.scaling import (
    MODA_B,
    Assumptions,
    Cluster,
    efficiency,
    hiding_batch,
    ring_seconds,
    step_of,
    volume,
    wire_bytes,
)

NO_LATENCY = Cluster(latency=0)
PARAMETERS = 1e9


@pytest.mark.parametrize(("strategy", "copies"), [("deepspeed_1", 2), ("deepspeed_2", 2), ("deepspeed_3", 3)])
def test_zero_sends_two_or_three_copies_of_the_weights_as_published(strategy: str, copies: int) -> None:
    """Rajbhandari et al., section 7: 2 psi for stages 1 and 2, as data parallelism; 3 psi for stage 3."""
    sent = volume(strategy, PARAMETERS, 64)
    elements = (2 * sent.all_reduce + sent.reduce_scatter + sent.late_gather + sent.early_gather) / 2
    assert elements == pytest.approx(copies * PARAMETERS)


def test_data_parallelism_sends_float32_gradients_twice() -> None:
    step = step_of("ddp", 8, 1, MODA_B, NO_LATENCY, Assumptions())
    assert step.wire == pytest.approx(2 * 4 * MODA_B.parameters * 7 / 8)


def test_state_shrinks_to_sixteen_bytes_and_the_average_over_the_ranks() -> None:
    """Figure 1 of the paper: (2 + 2 + 12) psi at first, 16 psi / N with stage 3; ours has an average of 4 psi more."""
    for gpus in (1, 64):
        assert volume("deepspeed_3", PARAMETERS, gpus).state == pytest.approx(20 * PARAMETERS / gpus)
    assert volume("deepspeed_1", PARAMETERS, 64).state == pytest.approx((4 + 16 / 64) * PARAMETERS)
    assert volume("deepspeed_2", PARAMETERS, 64).state == pytest.approx((2 + 18 / 64) * PARAMETERS)
    assert volume("ddp", PARAMETERS, 64).state == 20 * PARAMETERS


def test_a_ring_inside_a_node_and_one_between_nodes() -> None:
    inside = ring_seconds(8e9, 8, NO_LATENCY, 1e9)
    assert inside == pytest.approx(8e9 * 7 / 8 / NO_LATENCY.node_bandwidth)
    between = ring_seconds(8e9, 16, NO_LATENCY, 1e9) - inside
    assert between == pytest.approx(8e9 / 8 / 2 / NO_LATENCY.network_bandwidth)  # its card carries an eighth
    assert ring_seconds(8e9, 1, NO_LATENCY, 1e9) == 0 == wire_bytes(8e9, 1)


def test_one_gpu_loses_nothing_but_the_optimizer() -> None:
    step = step_of("ddp", 1, 64, MODA_B, Cluster(), Assumptions())
    assert step.communication == 0 and step.compute == pytest.approx(
        64 * MODA_B.sample_flops / (989e12 * 0.42 * 64 * 320 / (64 * 320 + 1500))
    )
    share = efficiency("ddp", 1, 64, MODA_B, Cluster(), Assumptions(), 64)
    assert share == pytest.approx(step.compute / (step.compute + step.optimizer))


def test_the_update_moves_what_clipping_adamw_and_the_average_read_and_write() -> None:
    cluster = Cluster(memory_bandwidth=1e12)
    alone = step_of("ddp", 64, 64, MODA_B, cluster, Assumptions()).optimizer
    assert alone == pytest.approx((12 + 28 + 12) * MODA_B.parameters / 1e12)
    assert step_of("deepspeed_1", 64, 64, MODA_B, cluster, Assumptions()).optimizer == pytest.approx(alone / 64)


def test_the_batch_that_hides_communication_is_the_smallest_that_does() -> None:
    fewest = hiding_batch("ddp", 64, MODA_B, Cluster(), Assumptions())
    assert step_of("ddp", 64, fewest, MODA_B, Cluster(), Assumptions()).exposed == 0
    assert step_of("ddp", 64, fewest - 1, MODA_B, Cluster(), Assumptions()).exposed > 0


def test_communication_that_fits_behind_the_backward_pass_costs_nothing() -> None:
    slow = step_of("ddp", 64, 1000, MODA_B, Cluster(), Assumptions())
    assert slow.communication > 0 and slow.exposed == 0
    bare = step_of("ddp", 64, 1000, MODA_B, Cluster(), Assumptions(overlap=0))
    assert bare.exposed == bare.communication


def test_a_smaller_batch_a_gpu_scales_worse() -> None:
    shares = [efficiency("deepspeed_2", 512, batch, MODA_B, Cluster(), Assumptions(), 64) for batch in (64, 16, 4)]
    assert shares == sorted(shares, reverse=True) and shares[-1] < 0.5


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ValueError, match="fsdp"):
        volume("fsdp", PARAMETERS, 8)
