import copy

import pytest
import torch
from torch import nn

from neoteny.plasticity.adamo import AdamO, isometry_groups
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
