"""Which networks measure: the official ones where their files are, else named stand-ins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moda.errors import UserError
from moda.eval.networks import (
    I3D,
    S3FD,
    ArcFace,
    DlibFaces,
    EfficientNetLite0,
    FIDInception,
    PhysNet,
    ScriptedI3D,
    SyncNet,
)
from moda.eval.videos.extractors.base import Extractor
from moda.eval.videos.extractors.detectors import FaceDetector, LandmarkDetector, S3FDDetector
from moda.eval.videos.extractors.emotion import EmotionExtractor
from moda.eval.videos.extractors.faces import FaceExtractor
from moda.eval.videos.extractors.features import FeatureNetwork, ImageExtractor, VideoExtractor, for_i3d, for_physnet
from moda.eval.videos.extractors.identity import IdentityExtractor
from moda.eval.videos.extractors.phones import PhoneExtractor
from moda.eval.videos.extractors.sync import SyncExtractor
from moda.eval.videos.protocol import Protocol
from moda.files import sha256_of
from moda.weights import find
from moda.weights.locate import locate

AUTO, STAND_IN = "auto", "stand-in"
OFFICIAL = {
    "image": "inception_fid",
    "video": "i3d_fvd",
    "sync": "syncnet_v2",
    "detector": "sfd_face",
    "identity": "arcface",
}


@dataclass(frozen=True)
class Networks:
    """Files of the networks: ``auto`` is the official one where it is on this machine, else the stand-in;
    ``stand-in`` is the packaged one; anything else is a path to the official network's file.

    sync has no packaged stand-in: a path to what ``moda train task=syncnet`` and ``moda export`` made, or none.
    sync_is_official: whether the file given for sync is the published one, whose columns go by the plain name.
    trust_script: run the code of a TorchScript file for video, where its tensors have names that ``I3D`` does not know.
    """

    image: str = AUTO
    video: str = AUTO
    sync: str = AUTO
    detector: str = AUTO
    identity: str = AUTO
    sync_is_official: bool = False
    trust_script: bool = False

    def resolved(self) -> tuple["Networks", list[str]]:
        """With ``auto`` decided, and what a reader should know about that."""
        paths, notes = {}, []
        for role, official in OFFICIAL.items():
            given = getattr(self, role)
            if given == AUTO:
                located = locate(official)
                paths[role] = str(located.path) if located else STAND_IN
                if not located:
                    notes.append(NOTES[role])
            elif given == STAND_IN:
                paths[role] = STAND_IN
            elif not Path(given).is_file():
                raise UserError(f"networks.{role}={given} does not exist; give a file, auto or stand-in")
            else:
                paths[role] = given
        for setting, role in (("trust_script", "video"), ("sync_is_official", "sync")):
            if getattr(self, setting) and paths[role] == STAND_IN:
                raise UserError(f"networks.{setting} is about the file of networks.{role}, and there is none; give it")
        official = self.sync_is_official or (self.sync == AUTO and paths["sync"] != STAND_IN)
        return replace(self, **paths, sync_is_official=official), notes


NOTES = {
    "image": "the Inception of FID is not on this machine (moda weights get inception_fid): Fréchet distances of "
    "EfficientNet-Lite0 features stand in its place, which are no FID",
    "video": "the I3D of FVD is not on this machine (moda weights get i3d_fvd): Fréchet distances of PhysNet features "
    "stand in its place, which are no FVD",
    "sync": "the SyncNet of Sync-C and Sync-D is not on this machine (moda weights get syncnet_v2) and there is no "
    "stand-in for it in a package: train one with moda train task=syncnet and give networks.sync=FILE",
    "detector": "the S3FD detector is not on this machine (moda weights get sfd_face): MediaPipe's faces stand in its place",
    "identity": "the ArcFace of identity similarity is not on this machine (moda weights get arcface): distances of dlib's "
    "face recognition stand in its place, which are no CSIM",
}


def build_extractors(networks: Networks, protocol: Protocol, device: str) -> Sequence[Extractor]:
    """The extractors of resolved ``networks`` on ``device``."""
    extractors: list[Extractor] = [
        ImageExtractor(_image(networks.image, device), protocol),
        VideoExtractor(_video(networks.video, device, networks.trust_script), protocol),
        FaceExtractor(),
        PhoneExtractor(),
        EmotionExtractor(),
        _identity(networks.identity),
    ]
    if networks.sync != STAND_IN:
        network = SyncNet.from_pretrained(networks.sync).to(device)
        label = "" if networks.sync_is_official else "own SyncNet"
        detector = _detector(networks.detector, device)
        extractors.append(SyncExtractor(network, sha256_of(networks.sync), label, detector, protocol))
    return extractors


def _image(path: str, device: str) -> FeatureNetwork:
    if path == STAND_IN:
        file = find("efficientnet_lite0")
        network = EfficientNetLite0.from_pretrained(file).to(device)
        return FeatureNetwork("FD-EfficientNetLite0", network, "features", sha256_of(file))
    return FeatureNetwork("FID", FIDInception.from_pretrained(path).to(device), "2048", sha256_of(path))


def _video(path: str, device: str, trust_script: bool = False) -> FeatureNetwork:
    if path == STAND_IN:
        file = find("physnet")
        return FeatureNetwork(
            "FD-PhysNet", PhysNet.from_pretrained(file).to(device), "features", sha256_of(file), for_physnet
        )
    network = ScriptedI3D.from_script(path) if trust_script else I3D.from_pretrained(path)
    return FeatureNetwork("FVD", network.to(device), "logits", sha256_of(path), for_i3d)


def _identity(path: str) -> IdentityExtractor:
    network, file = (DlibFaces, find("dlib_faces")) if path == STAND_IN else (ArcFace, Path(path))
    return IdentityExtractor(network.from_pretrained(file), sha256_of(file))


def _detector(path: str, device: str) -> FaceDetector:
    if path == STAND_IN:
        return LandmarkDetector()
    return S3FDDetector(S3FD.from_pretrained(path).to(device), sha256_of(path))
