"""`kill -9` at random moments: what is there is right, and the end is that of a run nobody disturbed."""

import shutil

import numpy as np
import pytest

KILLS = 50


@pytest.mark.slow(35)
def test_fifty_kills_at_random_moments(case, children):
    rng = np.random.default_rng(20)
    kills = 0
    finished = 0
    complete = set()
    whole = []
    begun, overwrite = 0, False
    while kills < KILLS:
        pid = children.start(path=case.path, store=case.store, overwrite=overwrite, pause=0.03)
        # from before the store is made to after its record is written, as long as such a run took so far
        ended = children.wait(pid, kill_after=float(rng.uniform(0, 1.05 * np.median(whole[-5:]))) if whole else None)
        overwrite = False
        if ended["killed"]:
            kills += 1
            complete.add(case.check_partial())
            continue
        assert "error" not in ended, ended
        case.check_store()
        finished += 1
        if begun == kills:  # a whole run, from nothing to the end
            whole.append(ended["seconds"])
        begun = kills
        if finished % 2:
            shutil.rmtree(case.store)
        else:  # goes on with the store of the run before, which is to be thrown away
            overwrite = True
    case.check(case.embed())
    assert len(complete) > 3, f"all kills came at the same stages: {complete} blocks"
