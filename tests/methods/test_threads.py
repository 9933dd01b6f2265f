import numpy as np
import pytest
import sklearn.cluster  # noqa: F401  brings an OpenMP library with it
from threadpoolctl import threadpool_info

from kronos_sc._methods.threads import one_thread


def threads(api):
    np.linalg.eigvalsh(np.eye(2))
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == api]


@pytest.mark.parametrize("blas", [False, True])
def test_one_thread_for_the_length_of_a_block(blas):
    before = threads("openmp"), threads("blas")
    with one_thread(blas=blas):
        assert set(threads("openmp")) == {1}
        assert threads("blas") == before[1] if not blas else set(threads("blas")) == {1}
    assert (threads("openmp"), threads("blas")) == before
