"""Chunks of the image that are cut or lost while a run is under way."""

import pytest

from kronos_sc.models import KronosModel

from .conftest import BLOCKS

pytestmark = pytest.mark.slow(7)  # seconds, for the file


@pytest.fixture
def begun(case, monkeypatch):
    """A store with some blocks."""
    encode = KronosModel.encode
    turns = iter(range(100))

    def failing(self, *arguments):
        if next(turns) == 5:
            msg = "the power is gone"
            raise RuntimeError(msg)
        return encode(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(KronosModel, "encode", failing)
        with pytest.raises(RuntimeError, match="the power is gone") as caught:
            case.embed()
    assert f"{case.check_partial()} of {BLOCKS} blocks are complete in {case.store}" in caught.value.__notes__[0]
    assert 0 < case.check_partial() < BLOCKS
    return case


CHUNK = "images/image/s0/c/2/2/2"  # the third channel


@pytest.mark.parametrize("how", ["cut", "empty", "lost"])
def test_a_bad_chunk_is_named_and_what_is_complete_is_kept(begun, how):
    chunk = begun.path / CHUNK
    complete = begun.complete()
    data = chunk.read_bytes()
    chunk.unlink() if how == "lost" else chunk.write_bytes(data[:-40] if how == "cut" else b"")
    with pytest.raises(OSError, match=r"Image 'image' .*channel 'CD8',? rows \d+–\d+,? columns \d+–\d+"):
        begun.embed()
    assert begun.complete() >= complete
    begun.check_partial()
    chunk.write_bytes(data)
    begun.check(begun.embed())


def test_every_chunk_of_the_image_counts(begun):
    """Wherever the bad chunk lies, under a sampled window or not, the error names it."""
    for row in range(3):
        for column in range(4):
            chunk = begun.path / f"images/image/s0/c/4/{row}/{column}"
            data = chunk.read_bytes()
            chunk.write_bytes(data[: len(data) // 2])
            with pytest.raises(OSError, match="Image 'image' could not be decoded at channel 'CYTOKERATIN'"):
                begun.embed(overwrite=True)
            chunk.write_bytes(data)
    begun.check(begun.embed())


def test_labels_that_cannot_be_decoded_stop_the_call_before_it_touches_the_store(begun):
    chunk = begun.path / "labels/cells/s0/c/1/1"
    complete = begun.complete()
    data = chunk.read_bytes()
    chunk.write_bytes(data[:-20])
    with pytest.raises(OSError, match="Labels 'cells' could not be decoded at rows"):
        begun.embed()
    assert begun.complete() == complete
    chunk.write_bytes(data)
    begun.check(begun.embed())
