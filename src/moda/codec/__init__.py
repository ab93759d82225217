"""Motion codecs: video to motion, portrait and motion to video. Nothing outside knows which one is in use."""

from moda.codec.base import EncodedClip, MotionCodec, Portrait

__all__ = ["EncodedClip", "MotionCodec", "Portrait"]
