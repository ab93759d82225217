"""How a training step scales over GPUs, on paper: arithmetic, bytes over the wire, overlap, memory.

A model with few and named assumptions, for choosing a strategy before a cluster is at hand; docs/scaling.md
prints and reads it. Volumes after Rajbhandari et al., "ZeRO" (2020), section 7; ring collectives after
Patarasu and Yuan (2009), in two levels as NCCL does them: inside a node first, then one ring for each GPU's
own network card.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

GIB = 2**30
# Memory traffic of one weight's update, float32, 4 bytes each. Clipping reads the gradient for the norm, then reads and
# writes it; AdamW in one kernel reads weight, gradient and two moments and writes all but the gradient; the average
# reads itself and the weight and writes itself.
UPDATE_BYTES = 4 * (3 + 7 + 3)
STRATEGIES = ("ddp", "deepspeed_1", "deepspeed_2", "deepspeed_3")


@dataclass(frozen=True)
class Network:
    """parameters: trained weights. sample_flops: forward and backward of one sample. tokens: of one sample,
    all streams together. sample_bytes: activations kept for the backward pass of one sample."""

    parameters: float
    sample_flops: float
    tokens: int
    sample_bytes: float


# conf/model/mmdit_b.yaml on liveportrait70 and 12 x 768 of sound, counted: FLOPs by ``training_flops``,
# activations by torch.autograd.graph.saved_tensors_hooks under bfloat16 autocast, without compile.
MODA_B = Network(parameters=373.0e6, sample_flops=0.309e12, tokens=320, sample_bytes=0.325e9)


@dataclass(frozen=True)
class Cluster:
    """Nodes of GPUs. Bandwidths are what collectives reach, one way, bytes a second and GPU; latency: of a hop."""

    peak: float = 989e12  # H100 SXM and H200, dense bfloat16
    gpus_per_node: int = 8
    node_bandwidth: float = 0.8 * 450e9  # NVLink 4: 900 GB/s both ways
    network_bandwidth: float = 0.85 * 50e9  # one 400 Gb/s InfiniBand card for each GPU
    latency: float = 6e-6
    memory_bandwidth: float = 0.7 * 3.35e12
    memory: float = 80e9


@dataclass(frozen=True)
class Assumptions:
    """mfu: of forward and backward on one GPU with many tokens. half_tokens: tokens a GPU at which it is half of
    that. overlap: share of the backward pass that can hide communication. bucket: bytes of one collective."""

    mfu: float = 0.42
    half_tokens: float = 1500
    overlap: float = 0.8
    bucket: float = 100e6


@dataclass(frozen=True)
class Volume:
    """Bytes of one step by collective, before any ring: all_reduce, reduce_scatter, all_gather of weights after
    the step (late) or around the layers that need them (early). state: resident bytes of weights and optimizer."""

    all_reduce: float
    reduce_scatter: float
    late_gather: float
    early_gather: float
    state: float


@dataclass(frozen=True)
class Step:
    """Seconds of one step and where they go. wire: bytes that a GPU sends. memory: bytes on a GPU."""

    compute: float
    optimizer: float
    communication: float
    exposed: float
    wire: float
    memory: float

    @property
    def seconds(self) -> float:
        return self.compute + self.optimizer + self.exposed


def volume(strategy: str, parameters: float, gpus: int) -> Volume:
    """What a strategy sends and keeps, weights, moments and one average included.

    DDP trains float32 weights under autocast, so gradients travel as float32. DeepSpeed holds bfloat16
    weights and gradients (2 bytes each) and float32 masters, moments and average (16 bytes), sharded.
    """
    half, full = 2 * parameters, 4 * parameters
    sharded = 16 * parameters / gpus
    if strategy == "ddp":
        return Volume(full, 0, 0, 0, 4 * full + full)  # weights, gradients, two moments; average
    if strategy == "deepspeed_1":
        return Volume(0, half, half, 0, 2 * half + sharded)
    if strategy == "deepspeed_2":
        return Volume(0, half, half, 0, half + half / gpus + sharded)
    if strategy == "deepspeed_3":
        return Volume(0, half, 0, 2 * half, 2 * half / gpus + sharded)
    raise ValueError(f"no volume is known for {strategy!r}; known: {', '.join(STRATEGIES)}")


def wire_bytes(amount: float, gpus: int, passes: int = 1) -> float:
    """What each GPU sends in a ring over ``gpus``: reduce-scatter and all-gather are one pass, all-reduce two."""
    return passes * amount * (gpus - 1) / gpus


def ring_seconds(amount: float, gpus: int, cluster: Cluster, bucket: float) -> float:
    """Time of one pass (reduce-scatter or all-gather) over ``amount`` bytes."""
    if gpus == 1 or amount == 0:
        return 0.0
    local = min(gpus, cluster.gpus_per_node)
    nodes = math.ceil(gpus / local)
    inside = wire_bytes(amount, local) / cluster.node_bandwidth
    between = wire_bytes(amount / local, nodes) / cluster.network_bandwidth
    hops = math.log2(local) + math.log2(nodes)  # small messages go by trees
    return inside + between + math.ceil(amount / bucket) * hops * cluster.latency


def step_of(strategy: str, gpus: int, batch: float, network: Network, cluster: Cluster, assumed: Assumptions) -> Step:
    """One step with ``batch`` samples on each of ``gpus``."""
    sent = volume(strategy, network.parameters, gpus)
    tokens = batch * network.tokens
    mfu = assumed.mfu * tokens / (tokens + assumed.half_tokens)
    compute = batch * network.sample_flops / (cluster.peak * mfu)

    def one_pass(amount: float) -> float:
        return ring_seconds(amount, gpus, cluster, assumed.bucket)

    gradients = 2 * one_pass(sent.all_reduce) + one_pass(sent.reduce_scatter)
    early, late = one_pass(sent.early_gather), one_pass(sent.late_gather)
    # Gradients hide behind the backward pass, two thirds of the arithmetic; early gathers behind both passes.
    hidden_gradients = min(gradients, assumed.overlap * compute * 2 / 3)
    hidden_early = min(early, assumed.overlap * compute - hidden_gradients)
    exposed = gradients - hidden_gradients + early - max(hidden_early, 0) + late
    moved = UPDATE_BYTES * network.parameters / (1 if strategy == "ddp" else gpus)
    amounts = (sent.reduce_scatter, sent.late_gather, sent.early_gather)
    wire = wire_bytes(sent.all_reduce, gpus, passes=2) + sum(wire_bytes(amount, gpus) for amount in amounts)
    return Step(
        compute=compute,
        optimizer=moved / cluster.memory_bandwidth,
        communication=gradients + early + late,
        exposed=exposed,
        wire=wire,
        memory=sent.state + batch * network.sample_bytes,
    )


def efficiency(
    strategy: str, gpus: int, batch: float, network: Network, cluster: Cluster, assumed: Assumptions, reference: float
) -> float:
    """Samples a second and GPU, as a share of what forward and backward alone allow at a batch of ``reference``."""
    alone = step_of("ddp", 1, reference, network, cluster, assumed)
    step = step_of(strategy, gpus, batch, network, cluster, assumed)
    return (batch / step.seconds) / (reference / alone.compute)


def hiding_batch(strategy: str, gpus: int, network: Network, cluster: Cluster, assumed: Assumptions) -> int:
    """Fewest samples a GPU at which all communication that can hide behind arithmetic does."""
    unhidden = step_of(strategy, gpus, 1e6, network, cluster, assumed).exposed  # the late gather
    fits = (
        batch
        for batch in range(1, 100_000)
        if step_of(strategy, gpus, batch, network, cluster, assumed).exposed <= unhidden * (1 + 1e-9)
    )
    return next(fits)


Row = tuple[str, int, str, float, Step, float]


def table(
    network: Network, cluster: Cluster, assumed: Assumptions, gpus: Sequence[int], batch: float, total: float
) -> list[Row]:
    """Rows (gpus, strategy, batch a GPU, Step, efficiency): first a fixed batch a GPU, then a fixed total."""
    rows = []
    for fixed in ("a GPU", "in all"):
        for count in gpus:
            each = batch if fixed == "a GPU" else total / count
            for strategy in STRATEGIES:
                step = step_of(strategy, count, each, network, cluster, assumed)
                share = efficiency(strategy, count, each, network, cluster, assumed, batch)
                rows.append((fixed, count, strategy, each, step, share))
    return rows


def main(argv: list[str]) -> int:
    """``moda bench scaling``."""
    parser = argparse.ArgumentParser("moda bench scaling", description="What a cluster would reach, on paper.")
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--batch", type=float, default=64, help="samples a GPU, for the first table")
    parser.add_argument("--total", type=float, default=2048, help="samples a step in all, for the second table")
    parser.add_argument("--mfu", type=float, default=Assumptions.mfu, help="of one GPU with many tokens")
    parser.add_argument("--network-gbit", type=float, default=400, help="of each GPU's network card")
    arguments = parser.parse_args(argv)
    cluster = replace(Cluster(), network_bandwidth=0.85 * arguments.network_gbit / 8 * 1e9)
    assumed = replace(Assumptions(), mfu=arguments.mfu)
    rows = table(MODA_B, cluster, assumed, arguments.gpus, arguments.batch, arguments.total)
    before = None
    for fixed, gpus, strategy, batch, step, share in rows:
        if fixed != before:
            amount = f"{arguments.batch:g} samples a GPU" if fixed == "a GPU" else f"{arguments.total:g} samples in all"
            print(f"\n{amount}\n")
            print(
                "| GPUs | strategy | samples/GPU | sent/GPU | communication | of it exposed | step | efficiency | memory |"
            )
            print("|---|---|---|---|---|---|---|---|---|")
            before = fixed
        print(
            f"| {gpus} | {strategy} | {batch:g} | {step.wire / 1e9:.2f} GB | {1000 * step.communication:.1f} ms "
            f"| {1000 * step.exposed:.1f} ms | {1000 * step.seconds:.1f} ms | {100 * share:.0f} % "
            f"| {step.memory / 1e9:.0f} GB |"
        )
    print("\nfewest samples a GPU that hide what can be hidden\n")
    print(f"| GPUs | {' | '.join(STRATEGIES)} |\n|{'---|' * (len(STRATEGIES) + 1)}")
    for gpus in arguments.gpus:
        fewest = [str(hiding_batch(strategy, gpus, MODA_B, cluster, assumed)) for strategy in STRATEGIES]
        print(f"| {gpus} | {' | '.join(fewest)} |")
    return 0
