"""Motion codec on a licence-clean 3-D head: measured with MediaPipe, rendered in software."""

from moda.codec.head.codec import HeadCodec

__all__ = ["HeadCodec"]
