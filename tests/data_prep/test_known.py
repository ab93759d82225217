"""A data set that is there already: what is read beside it, and what it may be asked."""

import sys
from dataclasses import replace

import pytest
from prep_fakes import square, tone

from moda.data.schema import DatasetManifest
from moda.data_prep.extract import Extractor
from moda.data_prep.networks import Networks
from moda.data_prep.pipeline import prepare
from moda.data_prep.settings import NetworkSettings, PrepareSettings
from moda.data_prep.tasks import WorkFolder
from moda.errors import UserError


@pytest.fixture
def add(make_video):
    """``add(name)`` adds a video of a new speaker, each of its own size."""
    sides = iter(range(24, 60, 4))
    return lambda name: make_video(f"{name}/1.mp4", [square(4, 4, next(sides), (64, 64))] * 30, sound=tone(1.2))


@pytest.fixture
def people(add) -> None:
    for name in ("ann", "bob"):
        add(name)


@pytest.fixture
def half_grown(people, settings: PrepareSettings, add, monkeypatch) -> list[str]:
    """A data set whose growing was interrupted when one of two videos had been read: the names of those read since."""
    prepare(settings)
    for name in ("eve", "fay"):
        add(name)
    whole, read = Extractor.process, []

    def interrupted(self, source, folder):
        if read:
            raise KeyboardInterrupt
        read.append(source.name)
        return whole(self, source, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Extractor, "process", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings)
    later = []
    monkeypatch.setattr(Extractor, "process", lambda self, *a: later.append(a[0].name) or whole(self, *a))
    return later


def test_what_was_read_and_not_packed_survives_a_run_with_nothing_to_do(
    half_grown: list[str], settings: PrepareSettings, capsys
):
    prepare(replace(settings, limit=1))
    printed = capsys.readouterr().out
    assert "nothing to do" in printed and "kept: 1 videos" in printed
    prepare(settings)
    assert len(half_grown) == 1
    assert sum(shard.num_samples for shard in DatasetManifest.load(settings.out).shards) == 4


def test_a_run_with_nothing_to_do_takes_no_work_from_one_that_goes_on(half_grown, settings: PrepareSettings):
    with WorkFolder.of(settings.out).lock(), pytest.raises(UserError, match="another moda prepare works"):
        prepare(replace(settings, limit=1))


def test_a_run_killed_after_the_manifest_is_tidied_up(people, settings: PrepareSettings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("moda.data_prep.pipeline.shutil.rmtree", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            prepare(settings)
    assert list(WorkFolder.of(settings.out).items())
    prepare(settings)
    assert not (settings.out / ".work").exists()


@pytest.mark.parametrize(("then", "now"), [({}, {"voice": "silero_vad 1"}), ({"voice": "silero_vad 1"}, {})])
def test_a_data_set_does_not_grow_with_other_networks(
    people, add, settings: PrepareSettings, monkeypatch, then: dict, now: dict
):
    models = Extractor.of(settings)
    monkeypatch.setattr(Extractor, "of", lambda _: replace(models, networks=Networks(fingerprints=then)))
    prepare(settings)
    add("eve")
    monkeypatch.setattr(Extractor, "of", lambda _: replace(models, networks=Networks(fingerprints=now)))
    with pytest.raises(UserError, match=r"other settings: voice_fingerprint was .*networks.voice=none"):
        prepare(settings)
    monkeypatch.setattr(Extractor, "of", lambda _: replace(models, networks=Networks(fingerprints=then)))
    prepare(replace(settings, networks=NetworkSettings(emotion="none")))  # which is not on the machine anyway


def test_a_limit_does_not_make_the_rest_vanish(people, settings: PrepareSettings, capsys):
    prepare(settings)
    capsys.readouterr()
    prepare(replace(settings, limit=1))
    assert "no longer in the source" not in capsys.readouterr().out
