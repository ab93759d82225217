"""External model files: one registry, found by name, checked by hash."""

from moda.weights.locate import find
from moda.weights.registry import REGISTRY, Weight, get_weight

__all__ = ["REGISTRY", "Weight", "find", "get_weight"]
