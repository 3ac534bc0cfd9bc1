"""Ghost batch norm against its definition: `nn.BatchNorm` called on one ghost after the other."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.all_ghosts_at_once import AllGhostsAtOnce
from lbadvisor.nn.ghost_batch_norm import (
    GhostBatchNorm,
    _SliceBySlice,
    interleaved_order,
    normalize_at_once,
)
from lbadvisor.nn.ghost_statistics import accumulate

GHOST = 4
EVEN, JOINED, OWN = 12, 13, 14  # 3 ghosts of 4; 4 + 4 + 5; 4 + 4 + 4 + 2
SPACES = {1: (), 2: (), 3: (5,), 4: (3, 5), 5: (2, 3, 2)}
PLAIN = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
aten = torch.ops.aten
CHANNELS = 3


def plain_layer(dims: int, dtype: torch.dtype = torch.float64, **settings: object) -> nn.Module:
    """A batch norm whose parameters and running statistics are not those of a fresh one."""
    torch.manual_seed(1)
    layer = PLAIN[dims](CHANNELS, dtype=dtype, **settings)
    with torch.no_grad():
        for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            if value is not None:
                value.uniform_(0.5, 1.5)
    return layer


def batch(examples: int, dims: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Activations far from mean 0 and variance 1, and the gradient of a loss with respect to the output."""
    generator = torch.Generator().manual_seed(2)
    shape = (examples, CHANNELS, *SPACES[dims])
    x = 3 + 2 * torch.randn(shape, generator=generator, dtype=dtype)
    return x, torch.randn(shape, generator=generator, dtype=dtype)


def in_format(tensor: Tensor, channels_last: bool) -> Tensor:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=last[tensor.dim()] if channels_last else torch.contiguous_format)


def chunk_loop(layer: nn.Module, x: Tensor) -> Tensor:
    """The definition: batch norm on each ghost in turn."""
    return torch.cat([layer(ghost) for ghost in x.split(ghost_slices(len(x), GHOST))])


def results(layer: nn.Module, forward, x: Tensor, grad_y: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers after one forward and one backward pass."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = forward(x)
    y.backward(grad_y)
    assert x.grad is not None
    gradients = {f"gradient of {name}": p.grad for name, p in layer.named_parameters()}
    return {"output": y.detach(), "gradient of x": x.grad, **gradients, **dict(layer.named_buffers())}


def assert_as_the_chunk_loop(plain: nn.Module, x: Tensor, grad_y: Tensor, **tolerance: float) -> None:
    """In both layouts."""
    slices = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST)
    interleaved = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST, layout="interleaved")
    expected = results(plain, lambda x: chunk_loop(plain, x), x, grad_y)
    for layer, forward in ((slices, slices), (interleaved, lambda x: by_interleaving(interleaved, x))):
        found = results(layer, forward, x, grad_y)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def by_interleaving(layer: nn.Module, x: Tensor) -> Tensor:
    """What the layer makes of the same ghosts in its interleaved layout, in the order of `x`."""
    order = interleaved_order(len(x), GHOST)
    return layer(x[order])[order.argsort()]


@pytest.mark.parametrize(
    ("batch_size", "ghost_batch_size", "sizes"),
    [
        (256, 128, (128, 128)),
        (848, 128, (128,) * 6 + (80,)),  # the short last batch of CIFAR-10 in batches of 4096 or 2048
        (192, 128, (128, 64)),  # half a ghost is not fewer than half
        (191, 128, (191,)),
        (100, 128, (100,)),
        (128, 128, (128,)),
        (5, 2, (2, 2, 1)),
        (7, 3, (3, 4)),
    ],
)
def test_a_remainder_below_half_a_ghost_joins_the_last(batch_size, ghost_batch_size, sizes):
    assert ghost_slices(batch_size, ghost_batch_size) == sizes


@pytest.mark.parametrize(
    ("batch_size", "order"),
    [
        (12, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
        (13, [0, 4, 1, 5, 2, 6, 3, 7, 8, 9, 10, 11, 12]),
        (14, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 13]),
        (5, [0, 1, 2, 3, 4]),
    ],
)
def test_interleaved_ghosts_are_the_slices_of_the_batch(batch_size, order):
    assert interleaved_order(batch_size, GHOST).tolist() == order


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="unknown layout `rows`: choose from contiguous, interleaved"):
        GhostBatchNorm(CHANNELS, GHOST, layout="rows")


@pytest.mark.parametrize("numbers", [(0, 4), (4, 0), (4, -1)])
def test_no_examples_or_no_ghost_size_cannot_be_cut(numbers):
    with pytest.raises(ValueError, match="both must be at least 1"):
        ghost_slices(*numbers)


@pytest.mark.parametrize("examples", [EVEN, JOINED, OWN])
@pytest.mark.parametrize("dims", [2, 3, 4, 5])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_training_is_batch_norm_on_each_ghost_in_turn(examples, dims, dtype, tolerance):
    x, grad_y = batch(examples, dims, dtype)
    assert_as_the_chunk_loop(plain_layer(dims, dtype), x, grad_y, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("examples", [EVEN, JOINED, OWN])
@pytest.mark.parametrize("dims", [4, 5])
def test_channels_last_gives_the_same_and_stays_channels_last(examples, dims):
    x, grad_y = (in_format(t, channels_last=True) for t in batch(examples, dims))
    assert_as_the_chunk_loop(plain_layer(dims), x, grad_y, rtol=1e-13, atol=1e-12)
    y = GhostBatchNorm(CHANNELS, GHOST, dtype=torch.float64)(x)
    assert y.stride() == x.stride()


@pytest.mark.parametrize("grad_channels_last", [False, True])
@pytest.mark.parametrize("x_channels_last", [False, True])
def test_the_gradient_may_have_another_memory_format_than_the_input(x_channels_last, grad_channels_last):
    x, grad_y = batch(OWN, 4)
    x, grad_y = in_format(x, x_channels_last), in_format(grad_y, grad_channels_last)
    assert_as_the_chunk_loop(plain_layer(4), x, grad_y, rtol=1e-13, atol=1e-12)


def test_a_strided_view_and_an_expanded_gradient_are_taken_as_they_are():
    x, _ = batch(2 * EVEN, 4)
    grad_y = torch.ones((), dtype=x.dtype).expand(EVEN, CHANNELS, *SPACES[4])
    assert_as_the_chunk_loop(plain_layer(4), x[::2].transpose(2, 3).transpose(2, 3), grad_y, rtol=1e-13, atol=1e-12)
    assert_as_the_chunk_loop(plain_layer(4), x[::2], grad_y, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("examples", [EVEN, OWN])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("affine", [True, False])
def test_bfloat16_under_autocast_is_that_of_batch_norm(examples, channels_last, affine):
    x, grad_y = (in_format(t.bfloat16(), channels_last) for t in batch(examples, 4, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        # The kernels for the two memory formats round differently, and interleaved ghosts are copied to one of them.
        tolerance = {"rtol": 2**-7, "atol": 2**-6} if channels_last else {"rtol": 2e-5, "atol": 1e-5}
        assert_as_the_chunk_loop(plain_layer(4, torch.float32, affine=affine), x, grad_y, **tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"affine": False},
        {"track_running_stats": False},
        {"affine": False, "track_running_stats": False},
        {"momentum": None},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"eps": 0.5},
    ],
    ids=str,
)
def test_every_setting_of_batch_norm_is_kept(settings):
    x, grad_y = batch(OWN, 4)
    assert_as_the_chunk_loop(plain_layer(4, **settings), x, grad_y, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_equal_sequential_updates_bit_for_bit(momentum):
    plain = plain_layer(4, torch.float32, momentum=momentum)
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST)
    for examples in (EVEN, OWN, JOINED):
        x, _ = batch(examples, 4, torch.float32)
        assert torch.equal(ghost(x), chunk_loop(plain, x))
    for name, value in plain.named_buffers():
        assert torch.equal(dict(ghost.named_buffers())[name], value), name
    assert plain.num_batches_tracked == 3 + 4 + 3


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("dims", [2, 4])
def test_interleaved_ghosts_have_the_bits_of_slices_but_for_the_rounding_of_the_running_statistics(momentum, dims):
    plain = plain_layer(dims, torch.float32, momentum=momentum)
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST, layout="interleaved")
    for examples in (EVEN, OWN, JOINED):
        x, _ = batch(examples, dims, torch.float32)
        assert torch.equal(by_interleaving(ghost, x), chunk_loop(plain, x))
    for name, value in plain.named_buffers():
        torch.testing.assert_close(dict(ghost.named_buffers())[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_one_ghost_is_batch_norm_bit_for_bit(dtype, channels_last):
    x, grad_y = (in_format(t, channels_last) for t in batch(EVEN, 4, dtype))
    plain = plain_layer(4, dtype)
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), EVEN)
    found, expected = results(ghost, ghost, x, grad_y), results(plain, plain, x, grad_y)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_accumulated_micro_batches_of_one_ghost_equal_one_ghost_batch_norm():
    """Oracle: a whole network, the micro-batches weighed by their size; without the weights the gradients differ."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4)).double()
    ghost_network = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(network), GHOST)
    unweighted_network = copy.deepcopy(network)
    x, classes = torch.randn(OWN, 6, dtype=torch.float64), torch.randint(4, (OWN,))
    sizes = ghost_slices(OWN, GHOST)

    nn.functional.cross_entropy(ghost_network(x), classes).backward()
    for x_micro, classes_micro in zip(x.split(sizes), classes.split(sizes), strict=True):
        (nn.functional.cross_entropy(network(x_micro), classes_micro) * len(x_micro) / OWN).backward()
        (nn.functional.cross_entropy(unweighted_network(x_micro), classes_micro) / len(sizes)).backward()

    for (name, found), expected in zip(ghost_network.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-14, msg=name)
    for found, expected in zip(ghost_network.buffers(), network.buffers(), strict=True):
        assert torch.equal(found, expected)
    assert not torch.allclose(unweighted_network[3].weight.grad, network[3].weight.grad, rtol=1e-3)


def test_permuting_examples_inside_a_ghost_permutes_its_output_only():
    x, _ = batch(EVEN, 4)
    order = torch.arange(EVEN).view(-1, GHOST).flip(1).flatten()
    layer = GhostBatchNorm(CHANNELS, GHOST, dtype=torch.float64)
    torch.testing.assert_close(layer(x[order]), layer(x)[order], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(layer(x.roll(1, 0)).roll(-1, 0), layer(x), rtol=1e-3)


@pytest.mark.parametrize("track_running_stats", [True, False])
def test_evaluation_is_plain_batch_norm(track_running_stats):
    x, _ = batch(OWN, 4)
    plain = plain_layer(4, track_running_stats=track_running_stats).eval()
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST)
    assert torch.equal(ghost(x), plain(x))


def test_no_gradient_is_asked_for_under_no_grad():
    x, _ = batch(OWN, 4)
    layer = GhostBatchNorm(CHANNELS, GHOST, dtype=torch.float64)
    with torch.no_grad():
        y = layer(x)
    assert not y.requires_grad
    torch.testing.assert_close(y, chunk_loop(plain_layer(4, affine=False), x), rtol=1e-13, atol=1e-13)


def test_an_input_without_gradient_trains_the_parameters_all_the_same():
    x, grad_y = batch(OWN, 4)
    plain = plain_layer(4)
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST)
    ghost(x).backward(grad_y)
    chunk_loop(plain, x).backward(grad_y)
    torch.testing.assert_close(ghost.weight.grad, plain.weight.grad, rtol=1e-13, atol=1e-13)


def test_a_second_derivative_is_refused():
    x, _ = batch(EVEN, 4)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(
        GhostBatchNorm(CHANNELS, GHOST, dtype=torch.float64)(x).square().sum(), x, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(("examples", "ghost", "dims"), [(6, 1, 2), (5, 2, 2), (1, 4, 2)])
def test_a_ghost_of_one_value_is_an_error_that_says_so(examples, ghost, dims):
    x, _ = batch(examples, dims)
    layer = GhostBatchNorm(CHANNELS, ghost, dtype=torch.float64)
    with pytest.raises(ValueError, match="a ghost of 1 example has one value per channel"):
        layer(x)
    assert layer.num_batches_tracked == 0
    assert layer.eval()(x).shape == x.shape


def test_a_ghost_of_one_image_is_normalized_over_its_pixels():
    x, _ = batch(3, 4)
    ghost = GhostBatchNorm(CHANNELS, 1, dtype=torch.float64)
    torch.testing.assert_close(ghost(x), nn.functional.instance_norm(x), rtol=1e-12, atol=1e-12)


def test_a_ghost_size_below_one_is_refused():
    with pytest.raises(ValueError, match="ghost_batch_size is 0"):
        GhostBatchNorm(CHANNELS, 0)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 1, 1, 1, 1)])
def test_input_of_other_dimensions_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected 2D to 5D input \(got \dD input\)"):
        GhostBatchNorm(CHANNELS, GHOST)(torch.zeros(shape))


def test_a_converted_network_shares_what_it_learns_with_the_original():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(8)))
    network[1].eval()
    before = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    converted = GhostBatchNorm.convert_ghost_batchnorm(network, GHOST)
    assert converted is network
    assert [type(m) for m in (converted[1], converted[2][1])] == [GhostBatchNorm, GhostBatchNorm]
    assert (converted[1].training, converted[2][1].training) == (False, True)
    after = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert after.keys() == before.keys()
    assert all(after[name] is value for name, value in before.items())
    assert "ghost_batch_size=4" in repr(converted)


def test_a_state_dict_goes_into_a_plain_network_and_back():
    plain, ghost = plain_layer(4), GhostBatchNorm(CHANNELS, GHOST, dtype=torch.float64)
    ghost.load_state_dict(plain.state_dict())
    ghost(batch(OWN, 4)[0])
    plain.load_state_dict(ghost.state_dict())
    assert list(plain.state_dict()) == list(ghost.state_dict())
    for name, value in ghost.state_dict().items():
        assert torch.equal(plain.state_dict()[name], value), name


# The forms for a compiler and for a GPU, computed here on the CPU.
FORMS = pytest.mark.parametrize("form", [normalize_at_once, AllGhostsAtOnce.apply], ids=["compiler", "GPU"])


@FORMS
@pytest.mark.parametrize("examples", [EVEN, JOINED, OWN])
@pytest.mark.parametrize("dims", [2, 3, 4, 5])
@pytest.mark.parametrize("affine", [True, False])
def test_all_at_once_is_batch_norm_on_each_ghost_in_turn(examples, dims, affine, form):
    x, grad_y = batch(examples, dims)
    plain = plain_layer(dims, affine=affine)
    layer = copy.deepcopy(plain)
    sizes = ghost_slices(examples, GHOST)

    def at_once(x: Tensor) -> Tensor:
        layer.num_batches_tracked += len(sizes)
        state = layer.weight, layer.bias, layer.running_mean, layer.running_var
        return form(x, *state, sizes, (0.1,) * len(sizes), layer.eps)

    found = results(layer, at_once, x, grad_y)
    expected = results(plain, lambda x: chunk_loop(plain, x), x, grad_y)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-12, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


@FORMS
@pytest.mark.parametrize("examples", [EVEN, OWN])
def test_all_at_once_keeps_channels_last_and_half_precision(examples, form):
    x = in_format(batch(examples, 4, torch.float32)[0], channels_last=True)
    settings = (None, None, None, None, ghost_slices(examples, GHOST), (), 1e-5)
    y = form(x.bfloat16(), *settings)
    assert (y.dtype, y.stride()) == (torch.bfloat16, x.stride())
    exact = form(x.bfloat16().double(), *settings)
    torch.testing.assert_close(y.double(), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("track_running_stats", [True, False])
def test_off_the_cpu_the_layer_takes_the_form_that_is_one_function_of_all_ghosts(track_running_stats):
    """The meta device computes shapes only."""
    layer = GhostBatchNorm(CHANNELS, GHOST, track_running_stats=track_running_stats, device="meta")
    x = torch.empty(OWN, CHANNELS, *SPACES[4], device="meta", requires_grad=True)
    y = layer(x)
    assert y.grad_fn.name() == "AllGhostsAtOnceBackward"
    y.square().sum().backward()
    assert x.grad.shape == y.shape == x.shape


class Operations(TorchDispatchMode):
    """While entered, counts what computes or copies: a kernel on a GPU, which a view is not."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not (function.is_view or function.overloadpacket in (aten.empty_like, aten.detach))
        return function(*args, **(kwargs or {}))


def operations(form, ghosts: int) -> int:
    """How many operations a forward and backward pass takes."""
    x = torch.empty(ghosts * GHOST, CHANNELS, 3, 5, requires_grad=True)
    weight, bias = (torch.ones(CHANNELS, requires_grad=True) for _ in range(2))
    mean, var = (torch.ones(CHANNELS) for _ in range(2))
    sizes, factors = (GHOST,) * ghosts, (0.1,) * ghosts
    form(x, weight, bias, mean, var, sizes, factors, 1e-5).sum()  # the constants are made once
    with Operations() as counted:
        y = form(x, weight, bias, mean, var, sizes, factors, 1e-5)
        y.backward(torch.ones_like(y))
    return counted.count


def test_on_a_gpu_the_number_of_operations_is_small_and_that_of_a_single_ghost():
    """Each is at least a kernel, which a small layer waits for."""
    assert operations(AllGhostsAtOnce.apply, 32) == operations(AllGhostsAtOnce.apply, 2)
    assert operations(AllGhostsAtOnce.apply, 32) <= 0.7 * operations(normalize_at_once, 32)
    assert operations(_SliceBySlice.apply, 32) > 64


@pytest.mark.parametrize("ghosts", [8, 16, 32])
def test_the_weights_of_the_running_statistics_sum_to_one(ghosts):
    """A statistic that never changes stays: with the weights printed in the paper .51, .73, .87 of it would be left."""
    running = torch.tensor([2.0], dtype=torch.float64)
    accumulate(running, torch.full((ghosts, 1), 2.0, dtype=torch.float64), (0.1,) * ghosts)
    assert running.item() == pytest.approx(2.0, rel=1e-14)


def test_a_later_ghost_weighs_more_in_the_running_statistics():
    """By hand, momentum .1: 7 -> .9 * 7 + .1 * 1 = 6.4 -> .9 * 6.4 + .1 * 2 = 5.96."""
    running = torch.tensor([7.0], dtype=torch.float64)
    accumulate(running, torch.tensor([[1.0], [2.0]], dtype=torch.float64), (0.1, 0.1))
    assert running.item() == pytest.approx(5.96, rel=1e-14)


def test_without_momentum_every_ghost_so_far_weighs_the_same():
    """By hand: one ghost of statistic 7 was seen, then 1 and 4: their mean is 4."""
    running = torch.tensor([7.0], dtype=torch.float64)
    accumulate(running, torch.tensor([[1.0], [4.0]], dtype=torch.float64), (1 / 2, 1 / 3))
    assert running.item() == pytest.approx(4.0, rel=1e-14)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_eps_that_torch_refuses_is_refused_for_any_number_of_ghosts(eps, device):
    """Slice by slice, which is the CPU's form, and all at once."""
    plain = nn.BatchNorm1d(CHANNELS, eps=eps, device=device)
    for examples in (GHOST, EVEN):
        ghost = GhostBatchNorm.convert_ghost_batchnorm(plain, GHOST)
        with pytest.raises(ValueError, match="eps must be positive"):
            ghost(torch.randn(examples, CHANNELS, device=device))


def test_synchronizing_removes_the_ghosts_unless_they_are_made_last():
    """What `GhostBatchNorm` says of torch's conversion, and the pattern that it gives."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    ghosts = GhostBatchNorm.convert_ghost_batchnorm(network, GHOST)
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(ghosts)
    assert kinds(synchronized) == [nn.SyncBatchNorm] * 2
    assert kinds(GhostBatchNorm.convert_ghost_batchnorm(synchronized, GHOST)) == [GhostBatchNorm] * 2


def kinds(network: nn.Module) -> list[type]:
    return [type(layer) for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
