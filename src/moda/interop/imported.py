"""The official checkpoint as an export: with the codec, the speech encoder and the settings it was published with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moda.audio.encoder import SpeechEncoder
from moda.build import build
from moda.codec.base import MotionCodec
from moda.errors import UserError
from moda.files import sha256_of
from moda.interop.compatibility import MotionIdentity
from moda.interop.export import Export, write_export
from moda.interop.moda import MODA_B, load_official
from moda.motion.statistics import MotionStatistics


def import_official(path: str | Path, out: str | Path, config: Mapping[str, Any], *, strict: bool = True) -> None:
    """Write the official network at ``path`` as the export ``out``, which generation and evaluation load.

    config: conf/train.yaml with ``experiment=moda_paper``, and the groups codec and audio, resolved. Codec and
    encoder are built, so that what they need and whether they fit is said here. strict: see ``load_official``.
    Raises UserError.
    """
    codec: MotionCodec = build(config["codec"])
    encoder: SpeechEncoder = build(config["audio"])
    statistics: MotionStatistics = build(config["statistics"])
    _require_fit(codec, encoder, statistics)
    settings = config["task"]["module"]
    export = Export(
        task="dit",
        step=0,
        identity=MotionIdentity(statistics, codec.fingerprint, encoder.fingerprint),
        codec_spec=config["codec"],
        audio_spec=config["audio"],
        audio_layers=encoder.num_layers,
        audio_dim=encoder.dim,
        identity_dim=codec.identity_dim,
        network=load_official(path, strict=strict),
        network_spec={"_target_": "moda.models.mmdit.MMDiT", **MODA_B},
        dataset_fingerprint=f"official {sha256_of(path)}",
        flow_spec=settings["flow"],
        window=config["data"]["window"],
        overlap=settings["overlap"],
        previous=1,
        reference_scale=settings["reference_scale"],
        published=settings["published"],
        config={**config, "data": {**config["data"], "path": None}},  # there is no data set of it here
    )
    export.sampler()  # says now which settings do not fit together
    write_export(out, export)


def _require_fit(codec: MotionCodec, encoder: SpeechEncoder, statistics: MotionStatistics) -> None:
    shape = (encoder.num_layers, encoder.dim)
    if codec.layout != statistics.layout or codec.layout.dim != MODA_B["motion_dim"]:
        raise UserError(
            f"the official network makes {statistics.layout.name} motion, the {codec.name} codec takes {codec.layout.name}"
        )
    if codec.identity_dim != MODA_B["identity_dim"]:
        raise UserError(
            f"the official network takes 63 numbers of identity, the {codec.name} codec gives {codec.identity_dim}"
        )
    if shape != (MODA_B["audio_layers"], MODA_B["audio_dim"]):
        raise UserError(
            f"the official network hears 12 layers of 768, the {encoder.name} encoder gives {shape[0]} of {shape[1]}; use audio=moda_paper"
        )
