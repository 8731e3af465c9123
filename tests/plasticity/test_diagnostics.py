import math

import pytest
import torch
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity import diagnostics as d
from neoteny.plasticity.isometry import gram_deviation


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


IDENTITY = torch.eye(6)
RANK_ONE = torch.outer(torch.arange(1.0, 5.0), torch.tensor([1.0, -2.0, 3.0]))
HALF = torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0]))
DIAGONAL = torch.diag(torch.tensor([4.0, 2.0, 1.0]))


def entropy_rank(sigma):
    p = [s / sum(sigma) for s in sigma]
    return math.exp(-sum(x * math.log(x) for x in p if x > 0))


@pytest.mark.parametrize(
    ("matrix", "largest", "smallest", "condition", "effective", "stable", "norm"),
    [
        (IDENTITY, 1, 1, 1, 6, 6, math.sqrt(6)),
        (RANK_ONE, math.sqrt(30 * 14), 0, math.inf, 1, 1, math.sqrt(30 * 14)),
        (HALF, 1, 0, math.inf, 2, 2, math.sqrt(2)),
        (DIAGONAL, 4, 1, 4, entropy_rank([4, 2, 1]), 21 / 16, math.sqrt(21)),
        (torch.zeros(3, 5), 0, 0, math.nan, 0, 0, 0),
    ],
    ids=["identity", "rank-one", "half", "diagonal", "zero"],
)
def test_spectra_of_known_matrices(matrix, largest, smallest, condition, effective, stable, norm):
    for m in (matrix, matrix.T):
        sigma = d.singular_values(m)
        assert d.sigma_max(sigma).item() == pytest.approx(largest)
        assert d.sigma_min(sigma).item() == pytest.approx(smallest, abs=1e-6)
        found = d.condition_number(sigma).item()
        if condition == math.inf:
            assert found > 1e6
        else:
            assert found == pytest.approx(condition, nan_ok=True)
        assert d.effective_rank(sigma).item() == pytest.approx(effective, rel=1e-5)
        assert d.stable_rank(sigma).item() == pytest.approx(stable)
        assert d.frobenius_norm(sigma).item() == pytest.approx(norm)


@pytest.mark.parametrize("shape", [(3, 7, 4), (3, 4, 7), (2, 3, 5, 5)])
def test_singular_values_match_the_decomposition(shape):
    matrix = random(*shape)
    expected = torch.linalg.svdvals(matrix.double())
    torch.testing.assert_close(d.singular_values(matrix), expected, rtol=1e-6, atol=1e-7)


def test_many_matrices_at_once_match_one_by_one():
    matrices = [random(2, 4, 9), random(2, 9, 4, seed=1), random(3, 4, seed=2), random(1, 4, 4)]
    for matrix, sigma in zip(matrices, d.singular_values_of(matrices), strict=True):
        torch.testing.assert_close(sigma, d.singular_values(matrix))


def test_a_small_singular_value_survives_the_gram_matrix():
    sigma = d.singular_values(torch.diag(torch.tensor([1.0, 1e-5])))
    assert d.sigma_min(sigma).item() == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_matrix_that_is_not_finite_touches_no_other(bad):
    matrix = random(3, 5, 4)
    clean = d.singular_values(matrix)
    matrix[1, 2, 3] = bad
    sigma = d.singular_values(matrix)
    assert sigma[1].isnan().all()
    assert torch.equal(sigma[[0, 2]], clean[[0, 2]])
    for function in (d.effective_rank, d.stable_rank, d.condition_number, d.spectral_deviation):
        assert function(sigma).isnan().tolist() == [False, True, False]


def test_deviation_from_the_spectrum_is_the_penalty():
    for shape in ((2, 4, 7), (2, 7, 4)):
        weight = random(*shape)
        torch.testing.assert_close(
            d.spectral_deviation(d.singular_values(weight), 1.5).float(),
            gram_deviation(weight, 1.5, member_dims=1),
        )


def test_dormant_units_by_hand():
    features = torch.tensor([[1.0, 0.0, 4.0, 0.05], [-1.0, 0.0, 4.0, 0.05]])
    # Mean absolute activations 1, 0, 4, 0.05 have mean 1.2625; scores 0.79, 0, 3.17, 0.0396.
    assert d.dormant_mask(features, 0.0).tolist() == [False, True, False, False]
    assert d.dormant_mask(features, 0.1).tolist() == [False, True, False, True]
    assert d.dormant_fraction(features, 0.025).item() == 0.25
    assert d.dormant_fraction(features, 0.1).item() == 0.5
    assert d.dormant_fraction(100 * features, 0.1).item() == 0.5
    assert d.dormant_fraction(torch.zeros(2, 4)).item() == 1.0


def test_dead_units_by_hand():
    features = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1e-9]])
    assert d.dead_mask(features).tolist() == [False, True, False]
    assert d.dead_fraction(features).item() == pytest.approx(1 / 3)
    half = torch.cat((random(10, 8).abs(), torch.zeros(10, 8)), -1)
    assert d.dead_fraction(half).item() == 0.5


def test_pairs_that_never_change_order():
    # Units 0 and 2 are a pair, and so are 1 and 3.
    z = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 5.0, 1.0, 1.0]])
    assert d.frozen_order_fraction(z).item() == 0.5
    assert d.frozen_order_fraction(z[:1]).item() == 1.0
    assert d.frozen_order_fraction(z, size=4).item() == 0.0


@pytest.mark.parametrize("function", [d.dormant_fraction, d.dead_fraction, d.frozen_order_fraction])
def test_unit_fractions_keep_members_apart(function):
    features = random(3, 20, 8).relu()
    expected = torch.stack([function(member) for member in features])
    torch.testing.assert_close(function(features), expected)
    features[1, 0, 0] = math.nan
    found = function(features)
    assert found[1].isnan()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    assert not d.dormant_mask(features)[1].any()


def test_change_is_the_norm_over_all_tensors_per_member():
    before = [torch.zeros(2, 3, 4), torch.zeros(2, 5)]
    after = [t.clone() for t in before]
    after[0][0] = 1.0
    after[1][0] = 2.0
    found = d.change_between(before, after)
    torch.testing.assert_close(found, torch.tensor([math.sqrt(12 + 20), 0.0]))
    with pytest.raises(ValueError, match="2 tensors before and 1 after"):
        d.change_between(before, after[:1])


def test_a_diagnostic_that_is_no_number_for_each_member_is_refused():
    @d.DIAGNOSTICS.of(d.Weights)
    def largest_of_all(layer):
        """A maximum over members as well."""
        return layer.matrix.abs().max()

    with pytest.raises(InputError, match=r"'largest_of_all' gives the shape \(\) for 1 members"):
        d.diagnose(nn.Linear(3, 2), random(4, 3), ["weights"])
