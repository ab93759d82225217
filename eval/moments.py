"""Count, mean and covariance of features that arrive in batches, on one process or many."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from moda.errors import UserError


class Moments:
    """Count, mean and scatter of all features seen, in float64.

    The scatter is the sum of outer products of deviations from the mean, never of the features
    themselves: nothing cancels when the mean is far from 0. How the features were split into batches,
    objects or ranks changes the last digits only (Chan, Golub and LeVeque, 1983).

    packed: (D + 2, D) float64, one tensor so that one collective moves all of it: the count in the
    first element of the first row, then the mean, then the scatter.
    """

    def __init__(self, packed: Tensor) -> None:
        assert packed.dtype == torch.float64 and packed.ndim == 2 and packed.shape[0] == packed.shape[1] + 2
        self.packed = packed

    @classmethod
    def empty(cls, dimensions: int, device: torch.device | str | None = None) -> "Moments":
        """The moments of no feature."""
        return cls(torch.zeros(dimensions + 2, dimensions, dtype=torch.float64, device=device))

    @classmethod
    def of(cls, features: Tensor | np.ndarray) -> "Moments":
        """The moments of features (B, D)."""
        features = checked(features)
        return cls.empty(features.shape[1], features.device).update(features)

    @classmethod
    def merged(cls, parts: Sequence["Moments"]) -> "Moments":
        """The moments of everything that went into the parts, which stay as they are."""
        if not parts:
            raise UserError("no moments to merge; give at least one set of features")
        result = cls(parts[0].packed.clone())
        for part in parts[1:]:
            result.merge(part)
        return result

    @property
    def dimensions(self) -> int:
        return self.packed.shape[1]

    @property
    def count(self) -> int:
        return int(self.packed[0, 0])

    @property
    def mean(self) -> Tensor:
        """(D,), a view."""
        return self.packed[1]

    @property
    def scatter(self) -> Tensor:
        """(D, D), a view."""
        return self.packed[2:]

    @property
    def covariance(self) -> Tensor:
        """(D, D), unbiased. Raises UserError for fewer than two features, which have no covariance."""
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 features, not {self.count}; give more frames or clips")
        return self.scatter / (self.count - 1)

    def update(self, features: Tensor | np.ndarray, names: Sequence[str] | None = None) -> "Moments":
        """Add features (B, D) of any float type; returns itself.

        names: what each row is, for the error. Raises UserError for another width and for numbers that
        are not finite; nothing has been added then.
        """
        features = checked(features, self.dimensions, names).to(self.packed.device)
        if len(features):
            mean = features.mean(0)
            centred = features - mean
            self._join(len(features), mean)
            self.scatter.addmm_(centred.T, centred)
        return self

    def merge(self, other: "Moments") -> "Moments":
        """Add everything that ``other`` has seen; returns itself. Raises UserError for another width."""
        if other.dimensions != self.dimensions:
            raise UserError(f"moments of {other.dimensions} and {self.dimensions} dimensions do not merge")
        if other.count:
            self._join(other.count, other.mean.to(self.packed.device))
            self.scatter.add_(other.scatter.to(self.packed.device))
        return self

    def project(self, basis: Tensor) -> "Moments":
        """The moments of features @ basis, for a basis (D, K)."""
        mean, scatter = self.mean @ basis, basis.T @ self.scatter @ basis
        count = torch.zeros_like(mean)
        count[0] = self.count
        return Moments(torch.cat([count[None], mean[None], scatter]))

    def _join(self, count: int, mean: Tensor) -> None:
        """Take in ``count`` features at ``mean``: all but their scatter about it."""
        before, total = self.count, self.count + count
        difference = mean - self.mean
        self.scatter.addr_(difference, difference, alpha=before * count / total)
        self.mean.add_(difference, alpha=count / total)
        self.packed[0, 0] = total


def merge_packed(stacked: Tensor) -> Tensor:
    """(parts, D + 2, D) of ``Moments.packed`` to the (D + 2, D) of all together; what ranks reduce with."""
    return Moments.merged([Moments(packed) for packed in stacked]).packed


def checked(features: Tensor | np.ndarray, dimensions: int | None = None, names: Sequence[str] | None = None) -> Tensor:
    """Features (B, D) as float64. Raises UserError for another shape and for rows that are not finite, named."""
    features = torch.as_tensor(features).detach()
    if features.ndim != 2 or dimensions not in (None, features.shape[1]):
        raise UserError(f"features must be (batch, {dimensions or 'dimensions'}), not {tuple(features.shape)}")
    features = features.double()
    bad = np.flatnonzero(~features.isfinite().all(1).cpu().numpy())
    if len(bad):
        named = ", ".join(f"row {row}" if names is None else names[int(row)] for row in bad[:5])
        raise UserError(
            f"features are not finite in {len(bad)} of {len(features)}: {named}{', ...' if len(bad) > 5 else ''}; "
            "leave these out or look at what the network was given"
        )
    return features
