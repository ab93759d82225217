"""Official files found, read and refused."""

import pickle

import pytest
import torch
from golden_rule import state_of
from safetensors.torch import save_file

from moda.codec.liveportrait import LivePortraitCodec
from moda.codec.liveportrait.files import FILES, load, locate
from moda.codec.liveportrait.networks import KINDS
from moda.errors import UserError

F, S = "appearance_feature_extractor", "stitching"


def empty(name):
    with torch.device("meta"):
        return KINDS[name]()


@pytest.fixture(scope="module")
def states():
    """Rule-filled weights of the small networks."""
    return {name: state_of(empty(name)) for name in (F, "stitching", "lip", "eye")}


def grouped(states, prefix="module."):
    names = {"stitching": "retarget_shoulder", "lip": "retarget_mouth", "eye": "retarget_eye"}
    return {group: {prefix + key: value for key, value in states[name].items()} for name, group in names.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "appearance_feature_extractor."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_base_model_is_read_as_it_is_published(states, tmp_path, prefix, suffix):
    path = tmp_path / f"{F}{suffix}"
    state = {prefix + key: value for key, value in states[F].items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    network = load(empty(F), F, path)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, states[F][key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["stitching", "lip", "eye"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_three_networks_of_one_file(states, tmp_path, name, prefix, suffix):
    path = tmp_path / f"stitching_retargeting_module{suffix}"
    nested = grouped(states, prefix)
    if suffix == ".pth":
        torch.save(nested, path)
    else:
        save_file({f"{group}.{key}": value for group, state in nested.items() for key, value in state.items()}, path)
    loaded = load(empty(name), name, path).state_dict()
    assert all(torch.equal(value, states[name][key]) for key, value in loaded.items())


def without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("second.bias"), "second.bias is missing"),
        (without("first.conv.weight"), "first.conv.weight is missing"),
        (lambda s: s | {"third.weight": torch.zeros(3)}, "third.weight is not one of its keys"),
        (lambda s: s | {"second.bias": torch.zeros(3)}, r"second.bias is \(3,\), not \(512,\)"),
        (lambda s: {"weights": 3}, "first.conv.weight is missing"),
    ],
)
def test_wrong_keys_and_shapes_are_named_with_the_file(states, tmp_path, change, message):
    path = tmp_path / f"{F}.pth"
    torch.save(change(states[F]), path)
    with pytest.raises(UserError, match=message) as error:
        load(empty(F), F, path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_network_missing_from_its_file_is_named(states, tmp_path):
    path = tmp_path / "stitching_retargeting_module.pth"
    torch.save({key: value for key, value in grouped(states).items() if key != "retarget_eye"}, path)
    with pytest.raises(UserError, match="not LivePortrait's eye: mlp.0.weight is missing"):
        load(empty("eye"), "eye", path)


def test_a_network_too_many_in_a_file_is_named(states, tmp_path):
    path = tmp_path / "stitching_retargeting_module.pth"
    torch.save(grouped(states) | {"retarget_nose": {"mlp.0.weight": torch.zeros(1)}}, path)
    with pytest.raises(UserError, match=r"retarget_nose.mlp.0.weight is in none of retarget_shoulder"):
        load(empty("lip"), "lip", path)


class Malicious:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_empty_and_foreign_files_are_one_line(states, tmp_path, suffix, capsys):
    path = tmp_path / f"{F}{suffix}"
    save_file(states[F], path) if suffix == ".safetensors" else torch.save(states[F], path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not weights", pickle.dumps({"first": Malicious()}, protocol=2)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as weights") as error:
            load(empty(F), F, path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert "this ran" not in capsys.readouterr().out


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    path = tmp_path / f"{F}.pth"
    torch.save({"first.conv.weight": Malicious()}, path)
    with pytest.raises(UserError, match="holds more than tensors"):
        load(empty(F), F, path)
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["{folder}/{stem}.pth", "{stem}.pth", "{folder}/{stem}.safetensors", "liveportrait/{folder}/{stem}.pth"])  # fmt: skip
def test_files_are_found_in_the_official_layout_and_in_a_flat_folder(tmp_path, layout):
    for file in set(FILES.values()):
        path = tmp_path / layout.format(folder=file.folder, stem=file.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert {path.stem for path in locate(tmp_path).values()} == {file.stem for file in FILES.values()}


def test_missing_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        LivePortraitCodec(tmp_path / "nowhere")
    (tmp_path / "base_models").mkdir()
    for name in (F, "motion_extractor", "spade_generator"):
        (tmp_path / "base_models" / f"{name}.pth").touch()
    with pytest.raises(
        UserError, match="base_models/warping_module.pth does not exist.*moda weights get liveportrait_warping"
    ):
        LivePortraitCodec(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MODA_WEIGHTS", raising=False)
    with pytest.raises(UserError, match="moda weights get liveportrait_appearance"):
        LivePortraitCodec()


@pytest.mark.slow
def test_a_folder_of_official_files_is_read_whole(states, tmp_path):
    from moda.bench.codec import write_random_weights

    directory = write_random_weights(tmp_path / "weights")
    codec = LivePortraitCodec.from_pretrained(directory)
    assert codec.stitching(torch.zeros(2, 126)).shape == (2, 65)
    assert codec.lip(torch.zeros(2, 65)).shape == codec.eye(torch.zeros(2, 66)).shape == (2, 63)
    file = next(directory.rglob("stitching*"))
    flat = {f"{group}.{key}": value for group, state in grouped(states).items() for key, value in state.items()}
    before = codec.weights_digest()
    save_file(flat, file)
    other = LivePortraitCodec.from_pretrained(directory).weights_digest()
    file.unlink()
    torch.save(grouped(states, ""), file.with_suffix(".pth"))
    assert before != other == LivePortraitCodec.from_pretrained(directory).weights_digest()
