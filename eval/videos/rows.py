"""The rows of an evaluation: what is scored, and what a reader needs in order to judge it.

ground_truth       the reference's videos
reencoded          the same, through the encoder that generated videos go through
codec_ceiling      the same, read and rendered by a motion codec: what a model that drives it can reach
static             the first frame of each, held: what moving not at all scores (of one method, without a reference)
mismatched_audio   the reference with another clip's sound (of a run: the model driven by it): what moving
                   like speech, but not like this speech, scores
and the methods. Where the reference has other clips than the methods, or there is none, what moves not at all and
what has another's sound are made from the methods' own videos: a portrait of theirs, and their mouths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

from moda.build import build
from moda.errors import UserError
from moda.eval.pairing import Voice, derangements
from moda.eval.videos.controls import Control, make_control, plan_control, write_other_sound
from moda.eval.videos.measure import Item
from moda.eval.videos.parallel import for_each
from moda.eval.videos.protocol import Protocol
from moda.eval.videos.reading.folder import Videos
from moda.eval.videos.reading.source import VideoSource, open_source

REFERENCE_SET = "reference_set"  # the row of a reference whose clips are others than the methods'
TITLES = {
    "ground_truth": "ground truth",
    REFERENCE_SET: "ground truth (other clips)",
    "reencoded": "ground truth re-encoded",
    "codec_ceiling": "codec ceiling",
    "static": "static image",
    "mismatched_audio": "mismatched audio",
}


@dataclass(frozen=True)
class Row:
    """items: its videos. left_out: clip -> why it has none."""

    name: str
    title: str
    kind: Literal["reference", "control", "method"]
    items: list[Item]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Material:
    """Everything that rows are made of.

    reference: of the methods' clips; others: real videos of other clips; both empty where there are none.
    sounds: of clips whose sound is not in the reference's video.
    mismatched: videos of a run driven by another clip's sound; empty for the control made here.
    codec_spec: of the ceiling; None leaves that row out.
    """

    methods: Mapping[str, Videos]
    reference: Videos = field(default_factory=dict)
    _: KW_ONLY
    others: Videos = field(default_factory=dict)
    sounds: Videos = field(default_factory=dict)
    mismatched: Videos = field(default_factory=dict)
    codec_spec: Mapping[str, Any] | None = None


def make_rows(material: Material, folder: Path, protocol: Protocol, *, processes: int = 1, seed: int = 0) -> list[Row]:
    """All rows; videos of controls that are not in ``folder`` yet are made.

    Raises UserError for a method whose name is a row's, and where no clip of a method is one of the reference.
    """
    for name in material.methods:
        if name in TITLES:
            raise UserError(f"the method {name!r} is called like a row of its own; rename its folder")
    methods = [_method_row(name, videos, material) for name, videos in material.methods.items()]
    real, basis = _real(material), _basis(material)
    controls = _made(real, basis, material, folder, protocol, processes)
    mismatched = _mismatched(basis, material, folder, seed)
    name = "ground_truth" if material.reference else REFERENCE_SET
    truth = [Row(name, TITLES[name], "reference", real)] if real else []
    return [*truth, *controls, mismatched, *methods]


def _method_row(name: str, videos: Videos, material: Material) -> Row:
    """A method's videos, of clips that the reference has where there is one."""
    reference = material.reference
    if not reference:
        return Row(name, name, "method", [Item(key, path) for key, path in sorted(videos.items())])
    common = sorted(set(videos) & set(reference))
    if not common:
        raise UserError(
            f"no video of {name} ({', '.join(sorted(videos)[:3])}, ...) is named like one of the reference "
            f"({', '.join(sorted(reference)[:3])}, ...); give them the same names"
        )
    left_out = {key: "the reference has no such clip" for key in sorted(set(videos) - set(reference))}
    left_out |= {key: f"{name} has no such video" for key in sorted(set(reference) - set(videos))}
    return Row(name, name, "method", [Item(key, videos[key], None, reference[key]) for key in common], left_out)


def _real(material: Material) -> list[Item]:
    """The real videos that there are: of the methods' clips, or else of others."""
    if not material.reference:
        return [Item(key, path, None, path) for key, path in sorted(material.others.items())]
    wanted = sorted(set(material.reference) & {key for videos in material.methods.values() for key in videos})
    return [Item(key, material.reference[key], material.sounds.get(key), material.reference[key]) for key in wanted]


def _basis(material: Material) -> list[tuple[str, Item]]:
    """What the controls of the methods' clips are made from, each with its clip.

    That is their reference, or without one all methods' videos.
    """
    if material.reference:
        return [(item.key, item) for item in _real(material)]
    return [
        (clip, Item(f"{clip}@{name}", path))
        for name, videos in material.methods.items()
        for clip, path in sorted(videos.items())
    ]


def _made(
    real: Sequence[Item],
    basis: Sequence[tuple[str, Item]],
    material: Material,
    folder: Path,
    protocol: Protocol,
    processes: int,
) -> list[Row]:
    """The rows of controls that are videos of their own."""
    codec = build(dict(material.codec_spec)) if material.codec_spec and real else None
    stills = list(dict(reversed(basis)).values())[::-1]  # methods animate the same portrait: one of each clip
    kinds = {"reencoded": real, "codec_ceiling": real if codec else (), "static": stills}
    kinds = {kind: items for kind, items in kinds.items() if items}
    rows: dict[str, tuple[list[Item], dict[str, str]]] = {kind: ([], {}) for kind in kinds}
    plans: list[tuple[Item, Control]] = []
    for kind, items in kinds.items():
        for item in items:
            ceiling = (codec, material.codec_spec) if kind == "codec_ceiling" else (None, None)
            try:
                control = plan_control(kind, folder, item.key, item.video, item.sound, protocol, *ceiling)
                plans.append((item, control))
            except UserError as error:
                rows[kind][1][item.key] = str(error)
    todo = [control for _, control in plans if not control.out.is_file()]
    failed = for_each(make_control, todo, processes, "making controls") if todo else {}
    reasons = {todo[number].out: reason for number, reason in failed.items()}
    for item, control in plans:
        if control.out in reasons:
            rows[control.kind][1][item.key] = reasons[control.out]
        else:
            # what is rendered by the codec is a square already; the others are cropped like the reference
            box_of = None if control.kind == "codec_ceiling" else item.box_of
            rows[control.kind][0].append(Item(item.key, control.out, None, box_of))
    return [Row(kind, TITLES[kind], "control", items, left_out) for kind, (items, left_out) in rows.items()]


def _mismatched(basis: Sequence[tuple[str, Item]], material: Material, folder: Path, seed: int) -> Row:
    name, title = "mismatched_audio", TITLES["mismatched_audio"]
    if material.mismatched:
        items = [
            Item(key, path, None, material.reference.get(key)) for key, path in sorted(material.mismatched.items())
        ]
        return Row(name, title, "control", items)
    sources: dict[str, VideoSource] = {}
    left_out: dict[str, str] = {}
    for _, item in basis:
        try:
            source = open_source(item.video, item.sound)
            source.audio()  # nobody can be given a silent clip's sound
            sources[item.key] = source
        except UserError as error:
            left_out[item.key] = str(error)
    able = [(clip, item) for clip, item in basis if item.key in sources]
    # clips of one name say the same, whichever method made them
    voices = [Voice(clip, f"{clip}.mp4", sources[item.key].num_frames) for clip, item in able]
    pairings = derangements(voices, 1, seed) or [range(len(able))]  # a single clip has its own sound alone
    items = []
    for (clip, item), giver in zip(able, pairings[0], strict=True):
        others_clip, other = able[giver]
        if others_clip == clip:
            left_out[item.key] = "there is no clip with another sound to give it"
            continue
        sound = write_other_sound(folder, item.key, sources[other.key], sources[item.key].num_frames)
        items.append(Item(item.key, item.video, sound, item.box_of))
    return Row(name, title, "control", items, left_out)
