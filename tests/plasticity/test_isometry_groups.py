import pytest
import torch
from torch import nn

from neoteny.core.errors import InputError
from neoteny.plasticity.adamo import AdamO
from neoteny.plasticity.groups import isometry_groups
from neoteny.plasticity.layers import IsoConv2d, IsoLinear


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
    hidden = names_of(net, isometry_groups(net, exclude=()))[0]
    assert hidden == {"0.weight", "1.weight", "2.0.weight"}
    assert names_of(net, isometry_groups(net, exclude=["2"]))[0] == {"0.weight", "1.weight"}
    assert names_of(net, isometry_groups(net, exclude=[net[0], "2.0"]))[0] == {"1.weight"}
    net[3].weight = net[1].weight  # tied: excluded wins
    groups = names_of(net, isometry_groups(net, exclude=()))
    assert groups[0] == {"0.weight", "2.0.weight"}
    with pytest.raises(ValueError, match="exclude names 'head', which is not in the module"):
        isometry_groups(net, exclude=["head"])
    with pytest.raises(ValueError, match="not in the module"):
        isometry_groups(net, exclude=[build()[0]])


CONVOLUTIONS = [
    (nn.Conv1d, (8, 12, 3), 4),
    (nn.Conv2d, (8, 12, 3), 1),
    (nn.Conv2d, (4, 4, 3), 4),  # by depth
    (nn.Conv3d, (8, 12, 2), 4),
    (nn.ConvTranspose1d, (8, 12, 3), 4),
    (nn.ConvTranspose2d, (12, 8, (2, 3)), 4),
    (nn.ConvTranspose2d, (12, 8, (2, 3)), 1),
    (nn.ConvTranspose3d, (8, 12, 2), 4),
]


def maps_of(conv):
    """Each group's map from a patch of its inputs to its outputs (transposed: and back)."""
    rows = len(conv.weight) // conv.groups
    return [part.flatten(1) for part in conv.weight.detach().split(rows)]


@pytest.mark.parametrize(("kind", "sizes", "groups"), CONVOLUTIONS)
def test_each_group_of_a_convolution_becomes_isometric_by_itself(kind, sizes, groups):
    torch.manual_seed(1)
    conv = kind(*sizes, groups=groups)
    optimizer = AdamO(isometry_groups(conv), lr=0.1, isometry=0.5, scale=2.0)
    assert optimizer.param_groups[0]["blocks"] == groups
    for _ in range(80):
        for param in conv.parameters():
            param.grad = torch.zeros_like(param)
        optimizer.step()
    for one in maps_of(conv):
        singular = torch.linalg.svdvals(one)
        torch.testing.assert_close(singular, torch.full_like(singular, 2**0.5), atol=1e-3, rtol=0)


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
    hidden, rest = isometry_groups(net, exclude=())
    assert hidden["params"] == [net[0].weight]
    assert len(rest["params"]) == 2


def mlp():
    return nn.Sequential(
        nn.Embedding(5, 4), nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 2)
    )


def test_the_last_linear_layer_is_taken_for_the_head_and_that_is_said(caplog):
    net = mlp()
    hidden, rest = names_of(net, isometry_groups(net))
    assert hidden == {"1.weight", "3.weight"}
    assert "4.weight" in rest
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "left out: 4 (8 to 2)" in record.getMessage()
    caplog.clear()
    assert "4.weight" in names_of(net, isometry_groups(net, exclude=()))[0]
    assert "4.weight" not in names_of(net, isometry_groups(net, exclude=["4"]))[0]
    assert not caplog.records


@pytest.mark.parametrize(
    ("body", "hidden"),
    [
        (nn.Conv2d(3, 8, 3), {"body.weight"}),
        (nn.MultiheadAttention(8, 2), {"body.in_proj_weight", "body.out_proj.weight"}),
        (nn.GRU(4, 8), set()),
        (nn.Embedding(5, 8), set()),
    ],
)
def test_the_only_linear_layer_is_a_head_behind_layers_of_other_kinds(body, hidden, caplog):
    net = nn.ModuleDict({"body": body, "norm": nn.LayerNorm(8), "head": nn.Linear(8, 3)})
    *pulled, rest = names_of(net, isometry_groups(net))
    assert set().union(*pulled) == hidden
    assert "head.weight" in rest
    assert "left out: head (8 to 3)" in caplog.text


def test_nothing_is_guessed_where_layers_declare_roles_or_there_is_one_layer(caplog):
    assert names_of(net := nn.Sequential(IsoLinear(4, 4), nn.Linear(4, 2)), isometry_groups(net))[
        0
    ] == {"1.weight", "0.weight"}
    single = nn.Linear(4, 4)
    assert names_of(single, isometry_groups(single))[0] == {"weight"}
    attention = nn.MultiheadAttention(8, 2)
    assert "out_proj.weight" in names_of(attention, isometry_groups(attention))[0]
    assert not caplog.records


class ActorCritic(nn.Module):
    """Named as a policy of Stable-Baselines3."""

    def __init__(self):
        super().__init__()
        self.mlp_extractor = nn.ModuleDict(
            {"policy_net": nn.Linear(4, 8), "value_net": nn.Sequential(nn.Linear(4, 8))}
        )
        self.action_net = nn.Linear(8, 2)
        self.value_net = nn.Linear(8, 1)


def test_heads_of_stable_baselines3_are_known_by_their_names(caplog):
    net = ActorCritic()
    hidden = {"mlp_extractor.policy_net.weight", "mlp_extractor.value_net.0.weight"}
    assert names_of(net, isometry_groups(net))[0] == hidden
    optimizer = AdamO(net.named_parameters(), isometry=0.5)
    assert names_of(net, optimizer.param_groups)[0] == hidden
    assert [group["isometry"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert "action_net, value_net" in caplog.text


def test_named_parameters_are_split_as_the_module_itself_is(caplog):
    net = nn.ModuleDict(
        {
            "embedding": nn.Embedding(5, 8),
            "attention": nn.MultiheadAttention(8, 2),
            "hidden": nn.Linear(8, 8),
            "norm": nn.LayerNorm(8),
            "head": nn.Linear(8, 3),
        }
    )
    optimizer = AdamO(net.named_parameters(), lr=1e-2, isometry=0.5)
    other = AdamO(isometry_groups(net), lr=1e-2, isometry=0.5)
    names = names_of(net, optimizer.param_groups)
    assert names == names_of(net, other.param_groups)
    settings = [
        [{k: v for k, v in group.items() if k[:5] != "param"} for group in each.param_groups]
        for each in (optimizer, other)
    ]
    assert settings[0] == settings[1]
    assert [group["blocks"] for group in optimizer.param_groups] == [1, 3, 1]
    assert "names and left out: head" in caplog.text


def test_bare_parameters_are_all_pulled_and_that_is_said(caplog):
    net = mlp()
    AdamO(net.parameters(), lr=1e-3, isometry=0.05)
    (record,) = caplog.records
    assert "pulls all 4 matrices" in record.getMessage()
    assert "half-life of 1,733 updates: (5, 4), (8, 4), (8, 8), (2, 8)" in record.getMessage()
    caplog.clear()
    AdamO(net.parameters(), isometry=0.0)
    AdamO([torch.zeros(3, 3, requires_grad=True)])
    AdamO(isometry_groups(net, exclude=["4"]))
    assert not caplog.records


def test_modules_and_parameters_are_not_taken_for_each_other():
    net = mlp()
    with pytest.raises(InputError, match="module is a generator: give the network"):
        isometry_groups(net.parameters())
    with pytest.raises(InputError, match=r"params is a Sequential: give isometry_groups\(module\)"):
        AdamO(net)
