from moda.data_prep import networks
from moda.data_prep.networks import STAGES, build_networks
from moda.data_prep.settings import NetworkSettings, PrepareSettings


def test_every_network_that_is_missing_is_named_unless_it_is_not_wanted(settings: PrepareSettings, monkeypatch):
    monkeypatch.setattr(networks, "locate", lambda name: None)
    notes = build_networks(settings).notes
    assert len(notes) == len(STAGES)
    assert any("sound out of sync stays so" in note and "moda weights get syncnet_v2" in note for note in notes)
    settings.networks = NetworkSettings(sync="none")
    assert not any("syncnet" in note for note in build_networks(settings).notes)
