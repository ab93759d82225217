import os
from pathlib import Path

import numpy as np
import pytest
from prep_fakes import square, tone, write_video

from moda.data_prep.probe import probe
from moda.errors import UserError


def test_describes_a_video(make_video):
    info = probe(make_video("a.mp4", [square(0, 0, 20, (96, 128))] * 25, sound=tone(1)))
    assert (info.codec, info.width, info.height, info.has_audio) == ("h264", 128, 96, True)
    assert info.seconds == pytest.approx(1.0, abs=0.1)


def test_says_why_a_file_is_no_video(tmp_path: Path, make_video):
    whole = make_video("whole.mp4", [square(0, 0, 20)] * 25).read_bytes()
    cases = {
        b"": "empty",
        b"hello, world\n": "not a video file",
        np.random.default_rng(0).bytes(5000): "not a video file",
        whole[: len(whole) // 2]: "truncated",
    }
    path = tmp_path / "x.mp4"
    for content, reason in cases.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            probe(path)


def test_a_file_without_pictures_or_with_tiny_ones(tmp_path: Path, make_video):
    with pytest.raises(UserError, match="32 x 32"):
        probe(make_video("small.mp4", [square(0, 0, 8, (32, 32))] * 5))
    with pytest.raises(UserError, match="not a file"):
        probe(tmp_path / "missing.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
    with pytest.raises(UserError, match="not a file"):
        probe(tmp_path / "pipe.mp4")


def test_a_playlist_cannot_make_the_decoder_open_other_files(tmp_path: Path):
    secret = write_video(tmp_path / "secret.mp4", [square(0, 0, 20)] * 5)
    playlists = (
        f"ffconcat version 1.0\nfile {secret.name}\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret.name}\n#EXT-X-ENDLIST\n",
    )
    for text in playlists:
        (tmp_path / "list.mp4").write_text(text)
        with pytest.raises(UserError, match="not a video file"):
            probe(tmp_path / "list.mp4")
