"""Every network is timed as decoding calls it, its layers on the inputs that they get there."""

import numpy as np
import torch
from liveportrait_support import heads_of, make_codec, random_motion, stitch, warp
from torch import nn

from moda.bench.codec import (
    DECODING,
    _layer_calls,
    measure_codec,
    print_times,
    recorded_calls,
    synthetic_portrait,
    write_random_weights,
)
from moda.codec.liveportrait.files import load, locate
from moda.codec.liveportrait.networks import KINDS


class Layered(nn.Module):
    """A function behind a layer that it does not use."""

    def __init__(self, function, *layers: nn.Module):
        super().__init__()
        self.function, self.layers = function, nn.Sequential(*(layers or (nn.Linear(1, 1),)))

    def forward(self, *args, **kwargs):
        self.layers(torch.ones(1, 1))
        return self.function(*args, **kwargs)


def layered_codec(tmp_path):
    codec = make_codec(tmp_path, batch=2)
    image = {"spade_generator": lambda x: torch.zeros(len(x), 3, 512, 512)}
    plain = {"motion_extractor": heads_of, "warping_module": warp, "stitching": stitch} | image
    plain["appearance_feature_extractor"] = lambda x: x
    vars(codec).update({name: Layered(function) for name, function in plain.items()})
    return codec


def test_times_and_table(tmp_path, capsys):
    codec = layered_codec(tmp_path)
    times = measure_codec(codec, frames=3, rounds=2)
    names = ["appearance_feature_extractor", "motion_extractor", *DECODING]
    assert [row.name for row in times.networks] == names
    assert min(row.network for row in times.networks) > 0 and min(row.layers for row in times.networks) > 0
    assert min(times.decode, times.decode_networks, times.ratio) > 0 and times.batch == 2
    print_times([times], codec.device)
    assert "decode, against its networks" in capsys.readouterr().out


def test_calls_are_recorded_once_each_and_nothing_stays_changed(tmp_path):
    codec = layered_codec(tmp_path)
    before = dict(vars(codec))
    with recorded_calls(codec) as calls:
        list(codec.decode(synthetic_portrait(codec), random_motion(5)))
    assert [function for function, _, _ in calls] == [
        codec.stitching,
        *[codec.warping_module, codec.spade_generator] * 3,
    ]
    assert vars(codec) == before


def test_layers_are_those_with_weights_in_order_and_with_their_inputs():
    first, norm, last = nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)
    network = nn.Sequential(first, nn.ReLU(), nn.Sequential(norm, last))
    x = torch.randn(4, 2)
    calls = _layer_calls(network, (x,), {})
    assert [layer for layer, _ in calls] == [first, norm, last]
    assert calls[0][1][0] is x and torch.equal(calls[1][1][0], first(x).relu())


def test_noise_has_the_official_layout(tmp_path, monkeypatch):
    small = {
        name: kind
        for name, kind in KINDS.items()
        if name in ("appearance_feature_extractor", "stitching", "lip", "eye")
    }
    monkeypatch.setattr("moda.bench.codec.KINDS", small)
    for name in KINDS.keys() - small:
        (tmp_path / f"{name}.pth").touch()
    paths = locate(write_random_weights(tmp_path))
    for name, kind in small.items():
        with torch.device("meta"):
            network = kind()
        values = load(network, name, paths[name]).state_dict().values()
        assert all(np.isfinite(value.numpy()).all() for value in values)
