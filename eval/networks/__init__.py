"""The networks that measures are defined on, each reading its official file; and those that stand in, by other names."""

from moda.eval.networks.efficientnet import EfficientNetLite0
from moda.eval.networks.emotion import MiniXception
from moda.eval.networks.i3d import I3D, ScriptedI3D
from moda.eval.networks.inception import FIDInception
from moda.eval.networks.physnet import PhysNet
from moda.eval.networks.recognition import ArcFace, DlibFaces
from moda.eval.networks.s3fd import S3FD
from moda.eval.networks.syncnet import SyncNet

__all__ = [
    "I3D", "S3FD", "ArcFace", "DlibFaces", "EfficientNetLite0", "FIDInception", "MiniXception", "PhysNet", "ScriptedI3D",
    "SyncNet",
]  # fmt: skip
