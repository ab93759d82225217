"""A batch arrives from another process as it was made."""

from itertools import islice
from pathlib import Path

import torch
from data_support import stream

from moda.data.batches import Packed, allocate, pack, unpack
from moda.data.workers import ReaderLoader


def test_tensors_lie_in_one_memory_and_not_on_one_another() -> None:
    wanted = {
        "a": ((3,), torch.bool),
        "b": ((2, 5), torch.float32),
        "none": ((2, 0), torch.float32),
        "c": ((4,), torch.long),
    }
    made = allocate(wanted)
    for number, (name, tensor) in enumerate(made.items()):
        assert (tuple(tensor.shape), tensor.dtype) == wanted[name]
        tensor.fill_(number + 1)
    assert made["a"].all() and (made["b"] == 2).all() and (made["c"] == 4).all()
    assert len({tensor.untyped_storage().data_ptr() for tensor in made.values()}) == 1


def test_a_packed_batch_is_one_tensor_and_comes_out_the_same() -> None:
    batch = allocate({"motion": ((2, 3), torch.float32), "valid": ((2,), torch.bool), "index": ((2,), torch.long)})
    batch["motion"].normal_()
    batch["valid"].copy_(torch.tensor([True, False]))
    batch["index"].copy_(torch.tensor([7, 8]))
    packed = pack(batch | {"key": ["a", "b"], "skipped": 2})
    assert isinstance(packed, Packed) and packed.others == {"key": ["a", "b"], "skipped": 2}
    found = unpack(packed)
    assert found["key"] == ["a", "b"] and found["skipped"] == 2
    for name, tensor in batch.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_what_was_not_allocated_as_one_stays_as_it_is() -> None:
    for batch in ({"a": torch.zeros(2), "b": torch.zeros(3)}, {"number": 1}):
        assert unpack(pack(batch)) is batch


def test_a_reader_process_gives_the_same_batches(tiny_dataset: Path) -> None:
    own = islice(iter(stream(tiny_dataset)), 4)
    others = islice(iter(ReaderLoader(stream(tiny_dataset), num_workers=2, prefetch_factor=2)), 4)
    for mine, theirs in zip(own, others, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            if isinstance(value, torch.Tensor):
                assert theirs[name].is_shared()
                assert theirs[name].dtype == value.dtype and torch.equal(theirs[name], value)
            else:
                assert theirs[name] == value
