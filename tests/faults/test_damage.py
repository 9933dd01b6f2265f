"""A flipped byte, a cut file, an empty file, a lost file of a finished store: noticed, named, made again."""

import shutil

import numpy as np
import pytest

from kronos_sc._store import EmbeddingStore

from .conftest import BLOCKS, KINDS, contents

pytestmark = pytest.mark.slow(28)  # seconds, for the file


@pytest.fixture
def whole(case, finished):
    """A finished store."""
    shutil.copytree(finished, case.store)
    return case


def flip(path, where):
    data = bytearray(path.read_bytes())
    data[where] ^= 0x10
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


HURTS = {
    "chunk": lambda path: flip(path, 20),
    "first byte": lambda path: flip(path, 0),
    "index": lambda path: flip(path, -10),
    "checksum of the index": lambda path: flip(path, -1),
    "cut": cut,
    "cut to a stump": lambda path: path.write_bytes(path.read_bytes()[:5]),
    "empty": empty,
    "gone": gone,
}


@pytest.mark.row("a damaged byte of a finished block")
@pytest.mark.parametrize("hurt", HURTS)
def test_a_damaged_shard_is_named_and_made_again(whole, hurt):
    kind = KINDS[len(hurt) % 2]
    number = 5
    before = contents(whole.store)
    HURTS[hurt](whole.store / kind / "c" / str(number) / "0")
    assert contents(whole.store) != before

    store = EmbeddingStore(whole.store)
    rows = store.rows[number]
    with pytest.raises(OSError, match=rf"Block {number} of '{kind}' in .*features\.zarr.*tl\.embed"):
        store.features(kind, rows[rows >= 0]).compute()
    others = np.concatenate([store.rows[block] for block in range(BLOCKS) if block != number])
    others = others[others >= 0]
    np.testing.assert_array_equal(store.features(kind, others).compute(), whole.truth[kind][others])
    assert store.intact().tolist() == [block != number for block in range(BLOCKS)]

    passes = counted(whole)
    whole.check(whole.embed())
    assert passes() == 1  # that block alone
    after = contents(whole.store)
    assert {name for name in before if before[name] != after[name] and not name.startswith("record")} == set()


def counted(case):
    """Return a function that says how often the network ran since."""
    done = []
    hook = case.model.net.register_forward_hook(lambda *_: done.append(1))

    def count():
        hook.remove()
        return len(done)

    return count


@pytest.mark.parametrize("name", ["pixels", "brightest"])
@pytest.mark.parametrize("hurt", ["first byte", "cut", "empty", "gone"])
def test_damaged_facts_of_a_block_are_made_again(whole, name, hurt):
    HURTS[hurt](whole.store / name / "c" / "7")
    assert np.flatnonzero(~EmbeddingStore(whole.store).intact()).tolist() == [7]
    whole.check(whole.embed())


def test_every_byte_of_a_shard_is_guarded(whole):
    """Whichever byte is flipped, no other number ever comes out."""
    path = whole.store / "marker" / "c" / "3" / "0"
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    places = {0, 1, len(data) - 1, len(data) - 5, *rng.integers(0, len(data), 60).tolist()}
    store = EmbeddingStore(whole.store)
    rows = store.rows[3][store.rows[3] >= 0]
    noticed = 0
    for place in places:
        flip(path, place)
        assert path.read_bytes() != data
        try:
            np.testing.assert_array_equal(store.features("marker", rows).compute(), whole.truth["marker"][rows])
        except OSError as error:
            noticed += "Block 3 of 'marker'" in str(error)
        path.write_bytes(data)
    assert noticed > 50
    whole.check_store()


@pytest.mark.parametrize(
    ("name", "hurt"),
    [("marker", 0.3), ("marker", 0.8), ("cls", 3), ("marker", "cut"), ("pixels", "empty"), ("brightest", "gone")],
)
def test_the_description_of_an_array_is_written_again(whole, name, hurt):
    path = whole.store / name / "zarr.json"
    before = contents(whole.store)
    if isinstance(hurt, str):
        HURTS[hurt](path)
    else:
        flip(path, hurt if hurt > 1 else int(hurt * path.stat().st_size))
    passes = counted(whole)
    whole.check(whole.embed())
    assert passes() == 0  # no block was harmed
    after = contents(whole.store)
    assert {
        key for key in before if before[key] != after[key] and not key.startswith(("record", f"{name}/zarr.json"))
    } == set()


@pytest.mark.parametrize("name", ["row", "edge"])
@pytest.mark.parametrize("hurt", [20, -3, "cut", "empty", "gone"])
def test_lost_rows_are_named_and_nothing_else_is_read_in_their_place(whole, name, hurt):
    (path,) = (whole.store / name / "c").iterdir()
    edge = EmbeddingStore(whole.store).edge()
    HURTS[hurt](path) if isinstance(hurt, str) else flip(path, hurt)
    before = contents(whole.store)
    with pytest.raises(OSError, match=rf"'?{name}'?.* in .*features\.zarr|features\.zarr/{name}.*"):
        EmbeddingStore(whole.store).edge()
    if name == "row":
        with pytest.raises(OSError, match="overwrite=True"):
            whole.embed()
        assert contents(whole.store) == before
    passes = counted(whole)
    whole.check(whole.embed(overwrite=name == "row"))
    assert (passes() == 0) == (name == "edge")  # which the call knows without the store
    np.testing.assert_array_equal(EmbeddingStore(whole.store).edge(), edge)


@pytest.mark.parametrize("hurt", ["first byte", "chunk", "cut", "empty"])
def test_a_damaged_root_is_named_and_can_be_started_again(whole, hurt):
    HURTS[hurt](whole.store / "zarr.json")
    before = contents(whole.store)
    with pytest.raises(OSError, match=r"features\.zarr/zarr\.json is damaged .*overwrite=True"):
        whole.embed()
    assert contents(whole.store) == before
    whole.check(whole.embed(overwrite=True))


def test_every_byte_of_the_root_is_guarded(whole):
    path = whole.store / "zarr.json"
    data = path.read_bytes()
    facts = vars(EmbeddingStore(whole.store))
    noticed = 0
    for place in range(0, len(data), len(data) // 40):
        flip(path, place)
        try:
            now = vars(EmbeddingStore(whole.store))
        except (OSError, ValueError) as error:
            noticed += "features.zarr" in str(error)
        else:  # white space, or what nobody reads
            assert now["identity"] == facts["identity"]
            np.testing.assert_array_equal(now["rows"], facts["rows"])
        path.write_bytes(data)
    assert noticed > 10


def test_the_array_in_the_table_names_the_block_and_works_again_when_mended(whole):
    table = whole.embed()
    lazy = table.obsm["X_kronos"]
    flip(whole.store / "marker" / "c" / "2" / "0", 30)
    with pytest.raises(OSError, match="Block 2 of 'marker'"):
        lazy.compute()
    whole.embed()
    np.testing.assert_array_equal(lazy.compute(), whole.truth["marker"])


def test_a_block_that_looks_empty_is_there(case, monkeypatch):
    """A network that gives NaN everywhere: what memory would hold, and nothing is computed twice."""
    import torch

    from kronos_sc.models import KronosModel

    encode = KronosModel.encode
    turns = iter(range(100))

    def blind(self, *arguments):
        found = encode(self, *arguments)
        return {kind: torch.full_like(value, torch.nan) for kind, value in found.items()} if next(turns) == 4 else found

    with monkeypatch.context() as patch:
        patch.setattr(KronosModel, "encode", blind)
        table = case.embed()
    lost = np.isnan(table.obsm["X_kronos"].compute()).all(axis=1)
    store = EmbeddingStore(case.store)
    (number,) = {block for block in range(BLOCKS) if lost[store.rows[block][store.rows[block] >= 0]].all()}
    assert lost.sum() == (store.rows[number] >= 0).sum()
    assert store.intact().all()
    passes = counted(case)
    case.embed()
    assert passes() == 0


@pytest.mark.parametrize("file", ["zarr.json", "model/name/zarr.json", "panel/mean/c/0", "params/zarr.json"])
@pytest.mark.parametrize("hurt", ["cut", "empty"])
def test_a_damaged_record_is_written_again(whole, file, hurt):
    HURTS[hurt](whole.store / "record" / file)
    passes = counted(whole)
    table = whole.embed()
    assert passes() == 0
    whole.check(table)
    record = EmbeddingStore(whole.store).record()
    assert record["model"]["name"] == table.uns["kronos"]["model"]["name"] == "tiny"
    assert list(record["panel"]["channel"]) == ["DAPI", "CD3", "CD8", "CD20", "CYTOKERATIN"]


@pytest.mark.parametrize(("file", "hurt"), [("c/0", "cut"), ("c/0", "empty"), ("c/0", "gone"), ("zarr.json", "empty")])
def test_damaged_names_are_named_and_written_again(whole, file, hurt):
    names = EmbeddingStore(whole.store).names().tolist()
    HURTS[hurt](whole.store / "names" / file)
    with pytest.raises(OSError, match=r"features\.zarr/names"):
        EmbeddingStore(whole.store).names()
    whole.check(whole.embed())
    assert EmbeddingStore(whole.store).names().tolist() == names
