"""Blocks: who owns whom, how many units one may have, and a block that travels alone."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

from kronos_sc import patches


@pytest.fixture
def planned(make):
    def build(sdata=None, **how):
        sdata = make((220, 260)) if sdata is None else sdata
        target = patches.target(sdata, image_key=None, labels_key=None, shapes_key=None, table=None, scale=None)
        ((region, image),) = target.images.items()
        units = patches.units(sdata, target.table, target.annotation, region, image, size=32)
        return patches.plan(image, [2, 0], units, **how)

    return build


@pytest.mark.parametrize("most", [1, 3, 10, 1000])
@pytest.mark.parametrize("memory", [1, 100_000, 10**9])
def test_every_unit_has_one_block_and_no_block_too_many(planned, most, memory):
    plan = planned(block_memory=memory, most=most)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([block.units for block in plan.blocks])), np.arange(len(plan.units))
    )
    assert max(len(block.units) for block in plan.blocks) <= most
    assert [block.index for block in plan.blocks] == list(range(len(plan.blocks)))


def test_bands_of_one_chunk_are_even_and_lie_below_each_other(planned, make):
    plan = planned(make((220, 260), chunks=(5, 220, 260)), most=50)
    sizes = [len(block.units) for block in plan.blocks]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-len(plan.units) // 50)
    tops = [(plan.units.y[block.units].min(), plan.units.y[block.units].max()) for block in plan.blocks]
    assert all(above[1] <= below[0] for above, below in pairwise(tops))


def test_the_order_of_the_table_does_not_move_blocks(planned, make):
    sdata = make((220, 260))
    first = planned(sdata, block_memory=1)
    order = np.random.default_rng(0).permutation(sdata["table"].n_obs)
    sdata.tables["table"] = sdata["table"][order].copy()
    second = planned(sdata, block_memory=1)
    for one, other in zip(first.blocks, second.blocks, strict=True):
        np.testing.assert_array_equal(first.units.ids[one.units], second.units.ids[other.units])


def test_blocks_of_an_earlier_plan(planned):
    plan = planned(block_memory=1)
    chosen = [plan.blocks[5].units, plan.blocks[2].units[::-1]]
    again = planned(groups=chosen)
    everything = {block.index: block for block in patches.read(plan)}
    for block, members in zip(patches.read(again), chosen, strict=True):
        np.testing.assert_array_equal(block.units, members)
        original = everything[
            5 if len(members) == len(plan.blocks[5].units) and members[0] == plan.blocks[5].units[0] else 2
        ]
        where = [original.units.tolist().index(unit) for unit in members.tolist()]
        np.testing.assert_array_equal(patches.crop(block), patches.crop(original)[where])
        np.testing.assert_array_equal(patches.crop_masks(block), patches.crop_masks(original)[where])


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_block_alone_reads_the_same_pixels(planned, make, stored, tmp_path, on_disk):
    plan = planned(stored(tmp_path / "tissue.zarr", shape=(220, 260)) if on_disk else make((220, 260)), block_memory=1)
    assert len(plan.blocks) > 9
    for block in patches.read(plan):
        if block.index % 4:
            continue
        packed = pickle.dumps(plan.only(block.index))
        (alone,) = patches.read(pickle.loads(packed))
        np.testing.assert_array_equal(alone.pixels, block.pixels)
        np.testing.assert_array_equal(alone.labels, block.labels)
        np.testing.assert_array_equal(alone.ids, block.ids)
        assert (alone.inside, alone.size) == (block.inside, block.size)
        np.testing.assert_array_equal(alone.y, block.y)
        if on_disk:
            assert len(packed) < 40_000
