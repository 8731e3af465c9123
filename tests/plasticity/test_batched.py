import pytest
import torch

from neoteny.plasticity.batched import KERNELS
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.sparse import encode

M, B, F = 3, 50, 40
HEADS = {"policy": HeadSpec(3), "value": HeadSpec(1)}


def network(spec, heads=HEADS, members=M, **options):
    generators = [torch.Generator().manual_seed(i) for i in range(members)]
    return Network(spec, (F,), heads, generators, **options)


def observations(kind):
    generator = torch.Generator().manual_seed(1)
    if kind == "binary":
        return torch.rand(M, B, F, generator=generator) < 0.2
    return torch.randn(M, B, F, generator=generator)


def outputs_and_gradients(net, obs):
    outputs = net(obs)
    loss = sum(
        (out * torch.linspace(-1, 1, out.numel()).view_as(out).sin()).sum() + out[1].square().sum()
        for out in outputs.values()
    )
    loss.backward()
    found = [out.detach() for out in outputs.values()]
    return found + [p.grad for p in net.parameters()]


@pytest.mark.parametrize("kind", ["binary", "float"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", KERNELS)
def test_batched_branches_equal_branch_by_branch(activation, bias, kind):
    spec = NetworkSpec((16, 16, 24), activation, bias=bias)
    obs = observations(kind)
    plain = outputs_and_gradients(network(spec, fast=False), obs)
    batched = outputs_and_gradients(network(spec), obs)
    for a, b in zip(batched, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_one_branch_one_layer_and_one_output_are_no_special_cases():
    spec = NetworkSpec((16,))
    for heads in ({"q": HeadSpec(1)}, {"q": HeadSpec(4)}, {**HEADS, "third": HeadSpec(2)}):
        obs = observations("float")
        plain = outputs_and_gradients(network(spec, heads, fast=False), obs)
        batched = outputs_and_gradients(network(spec, heads), obs)
        for a, b in zip(batched, plain, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_lone_branch_equals_the_same_branch_among_others():
    net, obs = network(NetworkSpec((16, 16))), observations("binary")
    torch.testing.assert_close(net.branch("value", obs), net(obs)["value"])


def test_what_cannot_be_batched_is_computed_branch_by_branch():
    for spec in (NetworkSpec((16, 16), norm="layer"), NetworkSpec((16, 16), "crelu")):
        net = network(spec)
        assert not net.batchable
        assert net(observations("float"))["policy"].shape == (M, B, 3)


@pytest.mark.parametrize("kind", ["binary", "float"])
@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec((64, 64)),
        NetworkSpec((64, 64), "groupsort"),
        NetworkSpec((64, 64), norm="layer"),
    ],
    ids=["relu", "groupsort", "layer norm"],
)
def test_bfloat16_products_round_but_do_not_change_the_gradient(spec, kind):
    obs = observations(kind)
    exact = outputs_and_gradients(network(spec), obs)
    rounded = outputs_and_gradients(network(spec, precision=torch.bfloat16), obs)
    for a, b in zip(rounded, exact, strict=True):
        assert a.dtype == torch.float32
        # bfloat16 keeps 8 bits; rounding also moves some units across their activation's kink.
        assert torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99
    for a, b in zip(rounded[:2], exact[:2], strict=True):
        assert not torch.equal(a, b)
        assert (a - b).norm() <= 0.01 * b.norm()


def test_sparse_and_dense_inputs_give_the_same():
    net, obs = network(NetworkSpec((16, 16))), observations("binary")
    sparse = outputs_and_gradients(net, encode(obs.flatten(0, 1), M))
    net.zero_grad()
    dense = outputs_and_gradients(net, obs.float())
    for a, b in zip(sparse, dense, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
