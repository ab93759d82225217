"""The published networks that measures are defined on; each reads its official file, none is shipped."""

from moda.eval.networks.i3d import I3D, ScriptedI3D
from moda.eval.networks.inception import FIDInception
from moda.eval.networks.s3fd import S3FD
from moda.eval.networks.syncnet import SyncNet

__all__ = ["I3D", "S3FD", "FIDInception", "ScriptedI3D", "SyncNet"]
