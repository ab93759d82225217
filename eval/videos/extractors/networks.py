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
from moda.eval.videos.extractors.identity import CSIM, DISTANCE, OWN_COSINE, IdentityExtractor
from moda.eval.videos.extractors.phones import PhoneExtractor
from moda.eval.videos.extractors.sync import SyncExtractor
from moda.eval.videos.protocol import Protocol, shown
from moda.files import sha256_of
from moda.weights import find, get_weight
from moda.weights.locate import locate

AUTO, STAND_IN = "auto", "stand-in"
# role -> the published weights for it; the first is the one that ``auto`` looks for
OFFICIAL = {
    "image": ("inception_fid",),
    "video": ("i3d_fvd", "i3d_kinetics"),
    "sync": ("syncnet_v2",),
    "detector": ("sfd_face",),
    "identity": ("arcface",),
}


@dataclass(frozen=True)
class Networks:
    """Files of the networks: ``auto`` is the official one where it is on this machine, else the stand-in;
    ``stand-in`` is the packaged one; anything else is a path to a file of the same network. Only with the published
    file, told by its hash, do columns go by the plain name.

    sync has no packaged stand-in: a path to what ``moda train task=syncnet`` and ``moda export`` made, or none.
    sync_is_official: whether the file for sync holds the published weights, whatever its hash, as one in another format.
    trust_script: run the code of a TorchScript file for video, where its tensors have names that ``I3D`` does not know.
    """

    image: str = AUTO
    video: str = AUTO
    sync: str = AUTO
    detector: str = AUTO
    identity: str = AUTO
    sync_is_official: bool = False
    trust_script: bool = False

    def __post_init__(self) -> None:
        for name in ("sync_is_official", "trust_script"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"networks.{name}={shown(getattr(self, name))}: must be true or false")

    def resolved(self) -> tuple["Networks", list[str]]:
        """With ``auto`` decided, and what a reader should know about that."""
        paths = {role: self._file(role) for role in OFFICIAL}
        for setting, role in (("trust_script", "video"), ("sync_is_official", "sync")):
            if getattr(self, setting) and paths[role] == STAND_IN:
                raise UserError(f"networks.{setting} is about the file of networks.{role}, and there is none; give it")
        published = {role: path != STAND_IN and is_published(role, sha256_of(path)) for role, path in paths.items()}
        published["sync"] |= self.sync_is_official
        notes = [NOTES[role] for role, path in paths.items() if path == STAND_IN and getattr(self, role) == AUTO]
        notes += [
            f"{path} is not the published file of networks.{role} (moda weights get {OFFICIAL[role][0]}): what is "
            "measured with it does not compare with published numbers"
            for role, path in paths.items()
            if path != STAND_IN and not published[role]
        ]
        return replace(self, **paths, sync_is_official=published["sync"]), notes

    def _file(self, role: str) -> str:
        """What measures in a role: a file that is there, or ``stand-in``."""
        given = getattr(self, role)
        if given == AUTO:
            located = locate(OFFICIAL[role][0])
            return str(located.path) if located else STAND_IN
        if given != STAND_IN and not Path(str(given)).is_file():
            raise UserError(f"networks.{role}={shown(given)} does not exist; give a file, auto or stand-in")
        return str(given)


def is_published(role: str, digest: str) -> bool:
    """Whether a file of that SHA-256 is a published one of its role."""
    return digest in {get_weight(name).reported for name in OFFICIAL[role]}


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
        detector = _detector(networks.detector, device)
        label = _sync_label(networks.sync_is_official, detector)
        extractors.append(SyncExtractor(network, sha256_of(networks.sync), label, detector, protocol))
    return extractors


def _sync_label(official: bool, detector: FaceDetector) -> str:
    """What in it is not the published pipeline's: the network, and the faces, from which the crops are made."""
    own = [] if official else ["own SyncNet"]
    if not isinstance(detector, S3FDDetector):
        own.append("MediaPipe faces")
    elif not is_published("detector", detector.weights_sha256):
        own.append("own S3FD")
    return ", ".join(own)


def _image(path: str, device: str) -> FeatureNetwork:
    if path == STAND_IN:
        file = find("efficientnet_lite0")
        network = EfficientNetLite0.from_pretrained(file).to(device)
        return FeatureNetwork("FD-EfficientNetLite0", network, "features", sha256_of(file))
    digest = sha256_of(path)
    label = "FID" if is_published("image", digest) else "FD-Inception"
    return FeatureNetwork(label, FIDInception.from_pretrained(path).to(device), "2048", digest)


def _video(path: str, device: str, trust_script: bool = False) -> FeatureNetwork:
    if path == STAND_IN:
        file = find("physnet")
        return FeatureNetwork(
            "FD-PhysNet", PhysNet.from_pretrained(file).to(device), "features", sha256_of(file), for_physnet
        )
    network = ScriptedI3D.from_script(path) if trust_script else I3D.from_pretrained(path)
    digest = sha256_of(path)
    label = "FVD" if is_published("video", digest) else "FD-I3D"
    return FeatureNetwork(label, network.to(device), "logits", digest, for_i3d)


def _identity(path: str) -> IdentityExtractor:
    if path == STAND_IN:
        file = find("dlib_faces")
        return IdentityExtractor(DlibFaces.from_pretrained(file), sha256_of(file), DISTANCE)
    digest = sha256_of(path)
    label = CSIM if is_published("identity", digest) else OWN_COSINE
    return IdentityExtractor(ArcFace.from_pretrained(path), digest, label)


def _detector(path: str, device: str) -> FaceDetector:
    if path == STAND_IN:
        return LandmarkDetector()
    return S3FDDetector(S3FD.from_pretrained(path).to(device), sha256_of(path))
