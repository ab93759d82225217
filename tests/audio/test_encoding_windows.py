from itertools import pairwise

import numpy as np
import pytest

from moda.audio.windows import in_windows


@pytest.mark.parametrize("rows", [1, 29, 30, 31, 49, 50, 173])
@pytest.mark.parametrize("overlap", [0, 1, 10])
def test_where_the_answer_does_not_depend_on_the_window_windowed_equals_whole(rows, overlap):
    values = np.random.default_rng(0).standard_normal((rows, 2, 3)).astype(np.float32)
    asked = []

    def encode(start, end):
        asked.append((start, end))
        return values[start:end]

    joined = in_windows(rows, 30, overlap, encode)
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, values, rtol=1e-5, atol=1e-6)
    assert max(end - start for start, end in asked) <= 30
    assert all(before[1] - after[0] >= overlap for before, after in pairwise(asked))


def test_where_windows_disagree_one_fades_into_the_next():
    answers = iter([0.0, 1.0, 0.0, 1.0])
    joined = in_windows(70, 30, 10, lambda start, end: np.full((end - start, 1), next(answers)))
    assert joined.min() == 0
    assert joined.max() == pytest.approx(1)
    assert np.abs(np.diff(joined[:, 0])).max() < 0.12
