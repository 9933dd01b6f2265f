"""Number formats on processors with and without instructions for them; no test looks at the processor it runs on."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kronos_sc.models.inference import instructions, placement
from kronos_sc.models.nets.fused import linear

CPU = torch.device("cpu")
HALVES = (torch.bfloat16, torch.float16)


@pytest.fixture
def randn():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.fixture(params=["ordinary", "fast"])
def processor(request, monkeypatch):
    """A processor without, or with, instructions for half formats, whatever the one at hand has."""
    fast = request.param == "fast"
    monkeypatch.setattr(instructions, "multiplies", lambda dtype: fast or dtype not in HALVES)
    monkeypatch.setattr(instructions, "capabilities", lambda: {"amx_bf16": True, "avx512_fp16": True})
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    instructions.fused_linear.cache_clear()
    yield request.param
    instructions.fused_linear.cache_clear()


@pytest.fixture
def log_lines(monkeypatch):
    lines = []
    monkeypatch.setattr(placement, "info", lines.append)
    return lines


def test_auto_is_what_is_fast(processor, log_lines):
    assert placement.choose_dtype("auto", CPU) == (torch.bfloat16 if processor == "fast" else torch.float32)
    assert log_lines == []


def test_bfloat16_is_had_for_the_asking_and_one_line_says_that_it_is_slow(processor, log_lines):
    assert placement.choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert len(log_lines) == (processor == "ordinary")
    assert all(
        "no instructions for bfloat16" in line and "slower than precision 'float32'" in line for line in log_lines
    )
    assert placement.choose_dtype("float32", CPU) == torch.float32
    assert len(log_lines) == (processor == "ordinary")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_a_linear_map_is_the_same_fused_and_plain(dtype, bias, gelu, randn, monkeypatch):
    """On any processor, in any format; both round each of at most three steps to the format."""
    layer = torch.nn.Linear(48, 96, bias=bias)
    layer.weight.data = randn(96, 48) / 7  # outputs of size 1
    layer = layer.to(dtype)
    x = randn(3, 5, 48).to(dtype)
    with torch.inference_mode(), instructions.products(dtype, CPU):
        got = linear(layer, x, gelu=gelu)
        monkeypatch.setattr("kronos_sc.models.nets.fused.fused_linear", lambda _: None)
        plain = linear(layer, x, gelu=gelu)
    exact = layer.double()(x.double()).detach()
    exact = F.gelu(exact) if gelu else exact
    assert got.dtype == plain.dtype == dtype
    # a product, a sum and a GELU of slope at most 1.13, each off by half a unit of numbers below 8; and sums in float32
    bound = 3 * 1.13 * 8 * torch.finfo(dtype).eps / 2 + 1e-5
    for output in (got, plain):
        assert float((output.double() - exact).abs().max()) < bound


def test_a_fused_product_that_does_not_exist_is_not_used(monkeypatch, randn):
    def missing(*_):
        raise RuntimeError(
            "could not create a primitive descriptor for the inner product forward propagation primitive"
        )

    class Ops:
        _linear_pointwise = staticmethod(missing)

    monkeypatch.setattr(instructions, "multiplies", lambda _: True)
    monkeypatch.setattr(torch.ops, "mkldnn", Ops)
    instructions.fused_linear.cache_clear()
    layer = torch.nn.Linear(8, 4)
    x = randn(2, 8)
    try:
        with torch.inference_mode():
            assert torch.equal(linear(layer, x), layer(x))
        assert instructions.fused_linear(torch.float32) is None
    finally:
        instructions.fused_linear.cache_clear()


PRODUCTS = {
    "operator": lambda a, b, w: a @ b,
    "matmul": lambda a, b, w: torch.matmul(a, b),
    "method": lambda a, b, w: a.matmul(b),
    "bmm": lambda a, b, w: torch.bmm(a, b),
    "mm": lambda a, b, w: a[0].mm(b[0]),
    "baddbmm": lambda a, b, w: torch.baddbmm(torch.zeros_like(a @ b), a, b),
    "einsum": lambda a, b, w: torch.einsum("nij,njk->nik", a, b),
    "tensordot": lambda a, b, w: torch.tensordot(a, b[0], 1),
    "linear": lambda a, b, w: F.linear(a, w),
    "conv2d": lambda a, b, w: F.conv2d(a[None], w.reshape(1, 3, 4, 4)[..., :3, :3]),
    "attention": lambda a, b, w: F.scaled_dot_product_attention(a, a, a),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_in_float32_are_the_exact_ones_rounded_once(name, half, randn):
    """Every way to multiply.

    Numbers of eight bits and few summands: sums in float32 are exact but for attention's softmax.
    """
    a, b, w = (randn(*shape).to(half) for shape in ((3, 6, 16), (3, 16, 5), (3, 16)))
    with instructions.ProductsInFloat32(half):
        got = PRODUCTS[name](a, b, w)
    exact = PRODUCTS[name](a.double(), b.double(), w.double())
    assert got.dtype == half
    unit = torch.finfo(half).eps * exact.abs().clamp_min(torch.finfo(half).tiny) / 2
    assert bool(((got.double() - exact).abs() <= unit + 1e-5).all())


def test_other_formats_and_operations_are_left_alone(randn):
    a = randn(4, 4)
    half = randn(4, 4).bfloat16()
    with instructions.ProductsInFloat32(torch.bfloat16):
        assert torch.equal(a @ a, torch.mm(a, a))
        assert (half + half).dtype == torch.bfloat16
        out = torch.empty(4, 4, dtype=torch.bfloat16)
        torch.mm(half, half, out=out)
    assert torch.equal(out, torch.mm(half, half))


def test_gradients_come_back_in_the_format(randn):
    layer = torch.nn.Linear(16, 8).bfloat16()
    x = randn(4, 16).bfloat16().requires_grad_()
    with instructions.ProductsInFloat32(torch.bfloat16):
        layer(x).square().sum().backward()
    twin = copy.deepcopy(layer).double()
    exact = x.detach().double().requires_grad_()
    twin(exact).square().sum().backward()
    assert x.grad.dtype == layer.weight.grad.dtype == torch.bfloat16
    for got, want in ((x.grad, exact.grad), (layer.weight.grad, twin.weight.grad)):
        assert float((got.double() - want).norm() / want.norm()) < 2**-7


@pytest.mark.slow(5)
def test_compiled_layers_compute_in_float32_too(randn):
    """`parallel.compile` of the trainer: torch traces the products as this context makes them, forward and backward."""
    layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 8)).bfloat16()
    compiled = copy.deepcopy(layers)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled.compile(dynamic=True, backend=backend)
    x = randn(4, 16).bfloat16()
    with instructions.ProductsInFloat32(torch.bfloat16):
        results = [net(x) for net in (layers, compiled)]
        for result in results:
            result.float().square().sum().backward()
    assert torch.equal(*results)
    for one, other in zip(layers.parameters(), compiled.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    casts = [node for graph in graphs for node in graph.graph.nodes if node.target in ("float", "to")]
    assert len(casts) == 2 * 4  # of each layer input, weight and bias to float32, and the output back


def test_it_holds_for_one_thread_alone():
    ours = []
    other = threading.Thread(target=lambda: ours.append(torch.overrides._get_current_function_mode()))
    with instructions.ProductsInFloat32(torch.bfloat16):
        other.start()
        other.join()
    assert ours == [None]


def test_only_processors_without_instructions_compute_in_float32(processor):
    ordinary = processor == "ordinary"
    assert isinstance(instructions.products(torch.bfloat16, CPU), instructions.ProductsInFloat32) == ordinary
    for dtype, device in ((torch.float32, CPU), (torch.bfloat16, torch.device("cuda"))):
        assert not isinstance(instructions.products(dtype, device), instructions.ProductsInFloat32)


def test_a_network_gives_the_same_on_both_kinds(small_net, randn):
    """Within bfloat16's rounding of float32, and of each other: the bound of `test_bfloat16_stays_close`."""
    net, ids = small_net
    pixels = randn(2, 3, 32, 32)
    with torch.inference_mode():
        exact = net(pixels, ids).markers
        half = copy.deepcopy(net).bfloat16()
        fast = half(pixels.bfloat16(), ids).markers
        with instructions.ProductsInFloat32(torch.bfloat16):
            plain = half(pixels.bfloat16(), ids).markers

    def off(a, b):
        return float((a - b).norm() / exact.norm())

    assert 0 < off(plain, exact) < 0.02
    assert off(plain, fast) < 0.02


@pytest.fixture
def small_net():
    from kronos_sc.models import KronosViT, ViTConfig

    net = KronosViT(ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)).eval()
    net.reset(torch.Generator().manual_seed(0))
    return net, torch.from_numpy(np.tile([4, 140, 200], (2, 1)))


def test_the_name_for_people_names_vectors_first(processor):
    words = instructions.name().split(", ")
    assert words[0]
    assert words[1:] == ["AMX-BF16", "AVX512-FP16"]
