"""Only what is measured as published goes by the plain name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from video_support import PROTOCOL

from moda.errors import UserError
from moda.eval.networks import I3D, S3FD, FIDInception, SyncNet
from moda.eval.networks.recognition import ArcFace
from moda.eval.videos.extractors import networks
from moda.eval.videos.extractors.networks import STAND_IN, Networks, build_extractors
from moda.files import sha256_of
from moda.weights import get_weight

Publish = Callable[[str, str], None]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """``publish(name, file)``: from now on the file is the published one of that name."""
    known = {}

    def change(name: str, file: str) -> None:
        known[name] = replace(get_weight(name), reported=sha256_of(file))

    monkeypatch.setattr(networks, "get_weight", lambda name: known.get(name) or get_weight(name))
    return change


def save(folder: Path, network: type[torch.nn.Module]) -> str:
    path = folder / f"{network.__name__}.safetensors"
    save_file(network().state_dict(), path)
    return str(path)


def labels(**files: str | bool) -> dict[str, str]:
    """Of the extractors that have one; a stand-in where no file is given."""
    roles = dict.fromkeys(networks.OFFICIAL, STAND_IN)
    resolved, _ = Networks(**(roles | files)).resolved()  # pyright: ignore[reportArgumentType]
    found = {one.name: getattr(one, "label", None) for one in build_extractors(resolved, PROTOCOL, "cpu")}
    return {name: label for name, label in found.items() if label is not None}


def test_what_of_sync_is_not_published_stands_behind_its_name(tmp_path: Path, publish: Publish) -> None:
    sync, faces = save(tmp_path, SyncNet), save(tmp_path, S3FD)
    assert labels(sync=sync)["sync"] == "own SyncNet, MediaPipe faces"
    assert labels(sync=sync, detector=faces)["sync"] == "own SyncNet, own S3FD"
    assert labels(sync=sync, sync_is_official=True)["sync"] == "MediaPipe faces"
    publish("syncnet_v2", sync)
    publish("sfd_face", faces)
    assert labels(sync=sync)["sync"] == "MediaPipe faces"
    assert labels(sync=sync, detector=faces)["sync"] == ""


def test_frechet_distances_of_another_file_are_no_fid_and_no_fvd(tmp_path: Path, publish: Publish) -> None:
    image, video = save(tmp_path, FIDInception), save(tmp_path, I3D)
    own, stand_in = labels(image=image, video=video), labels()
    assert (own["image"], own["video"]) == ("FD-Inception", "FD-I3D")
    assert (stand_in["image"], stand_in["video"]) == ("FD-EfficientNetLite0", "FD-PhysNet")
    publish("inception_fid", image)
    publish("i3d_kinetics", video)  # one of the two that are published
    published = labels(image=image, video=video)
    assert (published["image"], published["video"]) == ("FID", "FVD")


def test_a_file_that_is_not_the_published_one_is_told(tmp_path: Path, publish: Publish) -> None:
    file = tmp_path / "w600k_r50.onnx"  # whatever it is called
    file.write_bytes(b"another network")
    _, notes = Networks(identity=str(file)).resolved()
    assert any(str(file) in note and "is not the published file of networks.identity" in note for note in notes)
    publish("arcface", str(file))
    assert not any(str(file) in note for note in Networks(identity=str(file)).resolved()[1])


def test_similarity_in_another_network_is_no_csim(
    tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "w600k_r50.onnx"
    file.write_bytes(b"another network")
    monkeypatch.setattr(ArcFace, "from_pretrained", lambda path: ArcFace.__new__(ArcFace))
    assert labels()["identity"] == "identity distance (dlib)"
    assert labels(identity=str(file))["identity"] == "cosine (own ArcFace)"
    publish("arcface", str(file))
    assert labels(identity=str(file))["identity"] == "CSIM"


def test_every_role_has_a_hash_to_tell_the_published_file_by() -> None:
    hashes = [get_weight(name).reported or "" for names in networks.OFFICIAL.values() for name in names]
    assert all(len(found) == 64 and set(found) <= set("0123456789abcdef") for found in hashes)
    assert len(set(hashes)) == len(hashes)
    assert (get_weight("inception_fid").reported or "")[:8] in get_weight("inception_fid").filename  # as its name says


def test_settings_of_a_file_need_the_file() -> None:
    with pytest.raises(UserError, match=r"networks.trust_script is about the file of networks.video"):
        Networks(video=STAND_IN, trust_script=True).resolved()
    with pytest.raises(UserError, match=r"networks.sync_is_official is about the file of networks.sync"):
        Networks(sync=STAND_IN, sync_is_official=True).resolved()
