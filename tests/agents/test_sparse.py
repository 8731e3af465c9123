import pytest
import torch

from neoteny.agents.ppo import select
from neoteny.plasticity.networks import HeadSpec, Network, NetworkSpec
from neoteny.plasticity.sparse import SparseBatch, as_tensor, encode, first_samples, sparse_linear

M, B, F, OUT = 3, 17, 40, 5


def binary(*shape, density=0.1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < density


def dense_of(batch):
    out = torch.zeros(len(batch), batch.features, dtype=torch.bool)
    for row in range(len(batch)):
        ones = batch.index[batch.offsets[row] : batch.offsets[row + 1]]
        member = row * batch.members // len(batch)
        out[row, ones - member * batch.features] = True
    return out


@pytest.mark.parametrize("shape", [(8, 40), (6, 5, 4, 2), (3, 7), (9, 1)])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_encoding_lists_exactly_the_ones(shape, density):
    obs = binary(*shape, density=density)
    assert torch.equal(dense_of(encode(obs)), obs.flatten(1))
    if shape[0] % 3 == 0:
        assert torch.equal(dense_of(encode(obs, members=3)), obs.flatten(1))


def test_as_a_tensor_and_its_first_samples_are_those_of_the_observations():
    obs = binary(M * B, F)
    for batch in (encode(obs, M), obs.view(M, B, F)):
        assert torch.equal(as_tensor(batch), obs.view(M, B, F))
        assert torch.equal(as_tensor(first_samples(batch, 5)), obs.view(M, B, F)[:, :5])


def test_selecting_rows_of_joined_steps_equals_indexing():
    steps = [binary(M * 4, F, density=d) for d in (0.1, 0.0, 0.3)]
    joined = SparseBatch.join([encode(step, M) for step in steps])
    obs = torch.cat(steps)
    step = torch.randint(3, (M, B), generator=torch.Generator().manual_seed(0))
    lane = torch.randint(4, (M, B), generator=torch.Generator().manual_seed(1))
    rows = (step * M + torch.arange(M)[:, None]) * 4 + lane
    assert torch.equal(dense_of(joined.select(rows)), obs[rows].flatten(0, 1))
    assert torch.equal(select(obs, rows), obs[rows])


@pytest.mark.parametrize("bias", [True, False])
def test_layer_and_gradient_equal_the_dense_ones(bias):
    obs = binary(M * B, F)
    weight = torch.randn(M, OUT, F, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(M, OUT, dtype=torch.float64, requires_grad=True) if bias else None
    leaves = [weight, offset] if bias else [weight]
    sparse = sparse_linear(encode(obs, M), weight, offset)
    dense = obs.view(M, B, F).double() @ weight.mT
    if bias:
        dense = dense + offset.unsqueeze(1)
    torch.testing.assert_close(sparse, dense)
    factor = torch.randn_like(dense)
    got = torch.autograd.grad((sparse * factor).sum(), leaves)
    expected = torch.autograd.grad((dense * factor).sum(), leaves)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_only_binary_observations_are_taken_sparse():
    generators = [torch.Generator()]
    network = Network(NetworkSpec(hidden=(8,)), (4,), {"q": HeadSpec(2)}, generators)
    assert network.takes_sparse(binary(1, 4))
    assert not network.takes_sparse(torch.zeros(1, 4))
    network.fast = False
    assert not network.takes_sparse(binary(1, 4))
