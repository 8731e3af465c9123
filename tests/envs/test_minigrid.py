"""Properties of all MiniGrid families: views, encodings, missions, pictures, options, graphs."""

import gymnasium
import minigrid  # noqa: F401 - registers the reference's ids
import numpy as np
import played
import pytest
import torch
from host_calls import no_waits
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj
from minigrid.wrappers import OneHotPartialObsWrapper

from neoteny.envs import make
from neoteny.envs.minigrid import VARIANTS, cells

FAMILIES = {family: id for id, (family, _) in reversed(VARIANTS.items())}
IDS = sorted(FAMILIES.values())
WORDS = ["MiniGrid-GoToDoor-6x6-v0", "MiniGrid-Fetch-8x8-N3-v0", "MiniGrid-PutNear-8x8-N3-v0"]


def play(env, steps, seed=0):
    """Everything that steps with random actions return, stacked over time."""
    generator = torch.Generator().manual_seed(seed)
    size = (steps, env.num_envs)
    actions = torch.randint(0, int(env.single_action_space.n), size, generator=generator)
    return played.play(env, actions)


@pytest.mark.filterwarnings("ignore:.*is out of date")
def test_every_id_has_the_references_spaces_limit_and_shape():
    for id in VARIANTS:
        reference = gymnasium.make(id).unwrapped
        env = make(id, 1, **({"layouts": 1} if "MultiRoom" in id else {}))
        assert env.max_steps == reference.max_steps
        assert (env.width, env.height) == (reference.width, reference.height)
        assert env.single_action_space == reference.action_space
        assert env.single_observation_space == reference.observation_space["image"]
        assert env.see_through == reference.see_through_walls


def test_light_passes_as_in_the_reference():
    """The view of random worlds, more open and more closed ones."""
    env = make("MiniGrid-DoorKey-8x8", 300)
    env.reset()
    generator = np.random.default_rng(0)
    objects = [cells.EMPTY, cells.WALL, cells.LAVA, *cells.CODES[5:]]
    shown = cells.encodings()
    boards = generator.choice(objects, (300, 7, 7))
    boards[generator.random(boards.shape) < generator.random((300, 1, 1))] = cells.EMPTY
    columns = np.pad(boards, ((0, 0), (0, 0), (0, 1))).astype(np.uint8)
    found = env._lit(torch.from_numpy(columns.view(np.int64)[..., 0]))
    lit = found.view(torch.uint8).view(-1, 7, 8)[..., :7].numpy() == 255
    for board, mask in zip(boards, lit, strict=True):
        grid = Grid(7, 7)
        for x in range(7):
            for y in range(7):
                grid.set(x, y, WorldObj.decode(*map(int, shown[board[x, y]])))
        np.testing.assert_array_equal(mask, grid.process_vis((3, 6)))


@pytest.mark.parametrize("id", ["MiniGrid-LockedRoom-v0", "MiniGrid-Empty-8x8-v0", *WORDS])
def test_onehot_planes_show_the_image_direction_and_goal(id):
    image, onehot = make(id, 16, seed=1), make(id, 16, seed=1, encoding="onehot")
    wrapper = OneHotPartialObsWrapper(gymnasium.make(id))
    steps = [(env.reset(), play(env, 15)) for env in (image, onehot)]
    ((seen, info), rest), ((planes, _), planes_rest) = steps
    assert planes.dtype == torch.bool
    assert planes.shape[1:] == onehot.single_observation_space.shape
    for index in range(16):
        obs = {"image": seen[index].numpy(), "mission": ""}
        expected = wrapper.observation(obs)["image"]
        np.testing.assert_array_equal(planes[index, ..., :20].numpy(), expected)
    extra = planes[:, 0, 0, 20:]
    assert (planes[..., 20:] == extra[:, None, None]).all()
    assert torch.equal(extra[:, :4].int().argmax(1), info["direction"])
    words = extra[:, 4:].split([len(choices) for choices in onehot.goal_words] or 0, dim=1)
    for column, word in enumerate(words if onehot.goal_words else ()):
        assert (word.sum(1) == 1).all()
        assert torch.equal(word.int().argmax(1), info["mission"][:, column])
    for left, right in zip(rest[1:4], planes_rest[1:4], strict=True):
        assert torch.equal(left, right)
    channels = planes_rest[4][..., :20].int().split((11, 6, 3), dim=-1)
    decoded = torch.stack([channel.argmax(-1) for channel in channels], -1)
    assert torch.equal(decoded, rest[4].to(torch.int64))


@pytest.mark.parametrize("id", WORDS)
def test_missions_are_told_as_words_and_as_numbers(id):
    env = make(id, 64)
    _, info = env.reset()
    _, _, _, _, later = env.step(torch.zeros(64, dtype=torch.int64))
    assert info["mission"].shape == (64, len(env.goal_words))
    assert torch.equal(info["mission"], later["mission"])
    for row, text in zip(info["mission"].tolist(), env.missions(), strict=True):
        words = [choices[index] for choices, index in zip(env.goal_words, row, strict=True)]
        assert text == env.mission.format(*words)
        assert gymnasium.make(id).observation_space["mission"].contains(text)


def test_direction_is_told():
    env = make("MiniGrid-Empty-8x8", 2)
    assert env.reset()[1]["direction"].tolist() == [0, 0]
    assert env.reset()[1]["mission"].shape == (2, 0)
    info = env.step(torch.tensor([0, 1]))[-1]
    assert info["direction"].tolist() == [3, 1]
    assert env.missions() == ["get to the green goal square"] * 2


def test_a_goal_on_the_last_step_terminates_and_truncates():
    env = make("MiniGrid-Empty-5x5", 1, max_steps=5)
    env.reset()
    for action in (2, 2, 1, 2, 2):
        _, reward, terminated, truncated, _ = env.step(torch.tensor([action]))
    assert reward.item() == np.float32(1 - 0.9)
    assert terminated.item()
    assert truncated.item()


def test_rewards_are_rounded_from_double_precision():
    for limit in (100, 256, 640, 1024):
        env = make("MiniGrid-Empty-8x8", 1, max_steps=limit)
        expected = [np.float32(1 - 0.9 * (step / limit)) for step in range(1, limit + 1)]
        assert env._reward.tolist() == expected


@pytest.mark.parametrize("id", ["MiniGrid-FourRooms-v0", "MiniGrid-MemoryS7-v0", WORDS[0]])
def test_pictures_are_the_references(id):
    env = make(id, 4, seed=2, render_mode="rgb_array")
    assert env.render() is None
    env.reset()
    play(env, 6)
    pictures = env.render()
    reference = gymnasium.make(id).unwrapped
    reference.reset()
    for lane, picture in enumerate(pictures):
        board = env._grid(env.state)[lane, : env.area].view(env.height, env.width).numpy()
        reference.grid, _ = Grid.decode(cells.encodings()[board.T])
        direction, cell = divmod(int(env.state["pose"][lane]), env.area)
        reference.agent_pos = np.array([cell % env.width, cell // env.width])
        reference.agent_dir, reference.carrying = direction, None
        np.testing.assert_array_equal(
            picture, reference.get_frame(tile_size=min(32, 512 // env.width))
        )


@pytest.mark.parametrize(
    "id",
    [pytest.param(id, marks=pytest.mark.slow if at % 3 else ()) for at, id in enumerate(IDS)],
)
def test_a_lane_does_not_depend_on_how_many_there_are(id):
    options = {"max_steps": 10} | ({"layouts": 64} if "MultiRoom" in id else {})
    wide, narrow = make(id, 12, 2, seed=3, **options), make(id, 4, seed=4, **options)
    assert torch.equal(wide.reset()[0][12:16], narrow.reset()[0])
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, int(wide.single_action_space.n), (16, 24), generator=generator)
    for action in actions:
        left, right = wide.step(action), narrow.step(action[12:16])
        for a, b in zip(left[:4], right[:4], strict=True):
            assert torch.equal(a[12:16], b)
    for name, value in narrow.state.items():
        assert torch.equal(wide.state[name][12:16], value)


@pytest.mark.parametrize(
    ("id", "encoding"), [(id, "onehot" if place % 4 else "image") for place, id in enumerate(IDS)]
)
def test_a_step_never_waits_for_the_device(id, encoding, host_calls):
    options = {"layouts": 64} if "MultiRoom" in id else {}
    env = make(id, 8, encoding=encoding, **options)
    env.reset()
    action = torch.full((8,), 2)
    with host_calls() as watch:
        env.step(action)
    assert watch.host == []


def test_state_says_what_the_hand_holds_after_loading():
    env = make("MiniGrid-DoorKey-5x5", 16, seed=1)
    env.reset()
    play(env, 60)
    hands = env._grid(env.state)[:, env.area + 1]
    assert set(hands.tolist()) == {cells.EMPTY, cells.code(cells.Kind.KEY, cells.YELLOW)}
    other = make("MiniGrid-DoorKey-5x5", 16)
    other.load_state_dict(env.state_dict())
    for left, right in zip(play(env, 30, 1), play(other, 30, 1), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("MiniGrid-DoorKey-8x8", {"encoding": "rgb"}, "encoding is 'rgb'"),
        ("MiniGrid-DoorKey-8x8", {"render_mode": "human"}, "render_mode is 'human'"),
        ("MiniGrid-DoorKey-8x8", {"max_steps": 0}, "max_steps is 0"),
        ("MiniGrid-DoorKey-8x8", {"size": 9}, "no option 'size'"),
        ("MiniGrid-MultiRoom-N6", {"layouts": 0}, "layouts is 0"),
        ("MiniGrid-DoorKeys-8x8", {}, "did you mean"),
    ],
)
def test_bad_input_is_refused(id, options, message):
    with pytest.raises(ValueError, match=message):
        make(id, 2, **options)


@pytest.mark.gpu
@pytest.mark.parametrize("id", IDS)
def test_cuda_equals_cpu_without_waiting_for_the_device(id):
    expected, env = make(id, 64, seed=1), make(id, 64, seed=1, device="cuda")
    assert torch.equal(env.reset()[0].cpu(), expected.reset()[0])
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(0, int(env.single_action_space.n), (200, 64), generator=generator)
    on_device = actions.cuda()
    with no_waits():
        found = [env.step(action)[:4] for action in on_device]
    for action, outputs in zip(actions, found, strict=True):
        for left, right in zip(outputs, expected.step(action)[:4], strict=True):
            assert torch.equal(left.cpu(), right)
