import copy

import pytest
import torch
from torch import nn

from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.layers import IsoConv2d, IsoLinear


def set_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator)


class Net(nn.Module):
    """Every kind of layer that roles are declared for."""

    def __init__(self, members=None):
        super().__init__()
        self.conv = IsoConv2d(2, 4, 3, members=members)
        self.hidden = IsoLinear(8, 4, members=members)
        self.norm = nn.LayerNorm(4)
        self.head = IsoLinear(4, 2, members=members, role="head")
        self.frozen = nn.Parameter(torch.zeros(3, 3), requires_grad=False)


def names_of(module, groups):
    names = {param: name for name, param in module.named_parameters()}
    return [{names[p] for p in group["params"]} for group in groups]


@pytest.mark.parametrize("members", [None, 2])
def test_groups_follow_roles_and_cover_everything_once(members):
    net = Net(members)
    groups = isometry_groups(net)
    hidden, rest = names_of(net, groups)
    assert hidden == {"conv.weight", "hidden.weight"}
    assert groups[0]["member_dims"] == (0 if members is None else 1)
    assert "isometry" not in groups[0]
    assert groups[1]["isometry"] == 0.0
    trainable = {name for name, p in net.named_parameters() if p.requires_grad}
    assert hidden | rest == trainable
    assert sum(len(group["params"]) for group in groups) == len(trainable)


def test_plain_layers_are_hidden_unless_excluded():
    def build():
        return nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)), nn.Embedding(3, 4)
        )

    net = build()
    assert names_of(net, isometry_groups(net))[0] == {"0.weight", "1.weight", "2.0.weight"}
    assert names_of(net, isometry_groups(net, exclude=["2"]))[0] == {"0.weight", "1.weight"}
    assert names_of(net, isometry_groups(net, exclude=[net[0], "2.0"]))[0] == {"1.weight"}
    net[3].weight = net[1].weight  # tied: excluded wins
    groups = names_of(net, isometry_groups(net))
    assert groups[0] == {"0.weight", "2.0.weight"}
    with pytest.raises(ValueError, match="exclude names 'head', which is not in the module"):
        isometry_groups(net, exclude=["head"])
    with pytest.raises(ValueError, match="not in the module"):
        isometry_groups(net, exclude=[build()[0]])


def test_the_head_moves_as_under_adam():
    torch.manual_seed(0)
    net = Net(members=2)
    twin = copy.deepcopy(net)
    pair = (
        (net, AdamO(isometry_groups(net), isometry=0.5)),
        (twin, torch.optim.Adam(p for p in twin.parameters() if p.requires_grad)),
    )
    for step in range(10):
        for module, optimizer in pair:
            set_gradients([p for p in module.parameters() if p.requires_grad], step)
            optimizer.step()
    different = {
        name
        for (name, a), b in zip(net.named_parameters(), twin.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert different == {"conv.weight", "hidden.weight"}


CONVOLUTIONS = [
    (nn.Conv1d, (8, 12, 3)),
    (nn.Conv2d, (8, 12, 3)),
    (nn.Conv3d, (8, 12, 2)),
    (nn.ConvTranspose1d, (8, 12, 3)),
    (nn.ConvTranspose2d, (12, 8, (2, 3))),
    (nn.ConvTranspose3d, (8, 12, 2)),
]


def maps_of(conv):
    """Each group's map from a patch of its inputs to its outputs (transposed: and back)."""
    rows = len(conv.weight) // conv.groups
    return [part.flatten(1) for part in conv.weight.detach().split(rows)]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("kind", "sizes"), CONVOLUTIONS)
def test_each_group_of_a_convolution_becomes_isometric_by_itself(kind, sizes, groups):
    torch.manual_seed(1)
    conv = kind(*sizes, groups=groups)
    optimizer = AdamO(isometry_groups(conv), lr=0.1, isometry=0.5, scale=2.0)
    assert optimizer.param_groups[0]["blocks"] == groups
    for _ in range(1500):
        for param in conv.parameters():
            param.grad = torch.zeros_like(param)
        optimizer.step()
    for one in maps_of(conv):
        singular = torch.linalg.svdvals(one)
        torch.testing.assert_close(singular, torch.full_like(singular, 2**0.5), atol=1e-3, rtol=0)


def test_a_depthwise_convolution_alone_gives_what_its_channels_would_give():
    torch.manual_seed(2)
    conv = nn.Conv2d(5, 5, 3, groups=5, bias=False)
    channels = [nn.Parameter(part.detach().clone()) for part in conv.weight.split(1)]
    pair = [AdamO(isometry_groups(conv), isometry=0.5), AdamO(channels, isometry=0.5)]
    for step in range(20):
        set_gradients([conv.weight], step)
        for param, gradient in zip(channels, conv.weight.grad.split(1), strict=True):
            param.grad = gradient
        for optimizer in pair:
            optimizer.step()
    torch.testing.assert_close(conv.weight.detach(), torch.cat([c.detach() for c in channels]))


def test_attention_holds_a_map_each_for_queries_keys_and_values():
    attention = nn.MultiheadAttention(8, 2)
    names = names_of(attention, isometry_groups(attention))
    assert names[:2] == [{"out_proj.weight"}, {"in_proj_weight"}]
    assert [group.get("blocks", 1) for group in isometry_groups(attention)] == [1, 3, 1]
    other = nn.MultiheadAttention(8, 2, kdim=6, vdim=4)
    alone = {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"}
    assert names_of(other, isometry_groups(other))[0] == alone
    assert names_of(attention, isometry_groups(attention, exclude=[attention]))[0] == {
        name for name, _ in attention.named_parameters()
    }
    optimizer = AdamO(isometry_groups(attention), lr=0.1, isometry=0.5)
    for _ in range(800):
        attention.in_proj_weight.grad = torch.zeros_like(attention.in_proj_weight)
        optimizer.step()
    for part in attention.in_proj_weight.detach().split(8):
        torch.testing.assert_close(part @ part.T, torch.eye(8), atol=1e-3, rtol=0)


def test_reparametrised_recurrent_and_embedding_weights_are_left_out():
    net = nn.ModuleList(
        [
            nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
            nn.utils.parametrizations.orthogonal(nn.Linear(4, 4)),
            nn.LSTM(4, 4),
            nn.Embedding(4, 4),
            nn.Bilinear(2, 3, 4),
            nn.BatchNorm1d(4),
        ]
    )
    groups = isometry_groups(net)
    assert [group.get("isometry") for group in groups] == [0.0]
    assert len(groups[0]["params"]) == len(list(net.parameters()))


def test_a_weight_tied_between_layers_is_pulled_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    hidden, rest = isometry_groups(net)
    assert hidden["params"] == [net[0].weight]
    assert len(rest["params"]) == 2
