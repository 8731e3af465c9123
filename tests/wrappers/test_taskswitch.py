import numpy as np
import pytest
import torch

from neoteny.wrappers import At, Cyclic, MemberSchedules, Periodic, RandomOrder, TaskSwitch

OFFSETS = {"a": 0.0, "b": 100.0, "c": 200.0}


@pytest.fixture
def build(toy):
    """Makes a TaskSwitch between three Counters that differ in what they pay."""

    def make(name, num_envs, members, device, seed, **options):
        return toy.Counter(num_envs, members, device, seed, offset=OFFSETS[name], **options)

    def builder(schedule, num_envs=2, members=1, seed=0, **options):
        return TaskSwitch(
            list(OFFSETS), schedule, num_envs, members, "cpu", seed, make=make, **options
        )

    return builder


def orders(seeds, period=12):
    return MemberSchedules.random_order(period, 3, seeds)


def test_plays_the_scheduled_game_and_cuts_at_the_boundary(toy, build):
    env = build(Cyclic(12, 3), num_envs=3)
    info = env.reset()[1]
    assert info["task"].tolist() == [0]
    got = toy.record(env, 40)  # a switch after every fourth vector step
    for step in range(40):
        game, last = step // 4 % 3, step % 4 == 3
        assert got.task[step].tolist() == [game]
        assert (got.reward[step] // 100 == game).all()
        assert (got.cut[step] == (last & ~got.terminated[step])).all()
        assert (got.truncated[step] == got.cut[step]).all()
        if last:
            assert (got.obs[step][:, 0] == 0).all()
            assert (got.obs[step][:, 2] == 0).all()  # nothing of the old environment is left
            assert (got.final_obs[step][:, 0] > 0).all()


def test_a_lone_game_is_passed_through_without_a_copy(toy):
    passed = []

    class Watched(toy.Counter):
        def step(self, actions):
            passed.append([actions, *super().step(actions)[:4]])
            return *passed[-1][1:], {"final_obs": passed[-1][1]}

    def make(name, *arguments, **options):
        return Watched(*arguments, **options)

    env = TaskSwitch(["a", "b"], Periodic(100, tasks=2), 4, 3, make=make)
    env.reset()
    actions = torch.zeros(12, dtype=torch.int64)
    outcome = [actions, *env.step(actions)[:4]]
    assert len(passed) == 1
    assert all(one is other for one, other in zip(outcome, passed[0], strict=True))


def test_members_together_equal_members_alone(toy, build):
    seeds = [3, 4, 5, 11]
    together = build(orders(seeds), members=4, seed=seeds)
    alone = [build(orders([seed]), seed=seed) for seed in seeds]
    at_once = {len(set(together.tasks_at(step))) for step in range(0, 240, 12)}
    assert at_once > {1, 2} or at_once > {2, 3}  # the games in play at once vary
    assert torch.equal(together.reset()[0], torch.cat([env.reset()[0] for env in alone]))
    actions = torch.from_numpy(np.random.default_rng(0).integers(3, size=(120, 4, 2)))
    for step in range(120):
        joint = together.step(actions[step].reshape(-1))
        parts = [env.step(actions[step, m]) for m, env in enumerate(alone)]
        for k in range(4):
            assert torch.equal(joint[k], torch.cat([part[k] for part in parts]))
        for key in ("final_obs", "task"):
            assert torch.equal(joint[4][key], torch.cat([part[4][key] for part in parts]))


def test_a_game_played_again_is_a_different_episode(toy, build):
    env = build(Cyclic(40, 1), num_envs=8)
    first = env.reset()[0]
    got = toy.record(env, 20)
    starts = [first.numpy(), *got.obs[4::5]]
    assert len({tuple(start[:, 1]) for start in starts}) == len(starts)


@pytest.mark.parametrize("at", [10, 12, 13, 24])
def test_resume_is_exact_in_mid_task_and_at_a_boundary(toy, build, at):
    seeds = [1, 2, 3]

    def started():
        env = build(orders(seeds), members=3, seed=seeds, max_steps=5)
        env.reset()
        return env

    straight, resumed = started(), started()
    toy.record(straight, at)
    resumed.load_state_dict(straight.state_dict())
    assert resumed.steps == 2 * at
    expected, got = (toy.record(env, 40, seed=1) for env in (straight, resumed))
    for key, value in vars(expected).items():
        np.testing.assert_array_equal(value, getattr(got, key))


def test_action_tables_translate_common_actions(toy, build):
    tables = [[0, 1, 2, 0], [0, 2, 0, 0], [2, 1, 0, 0]]
    seeds = [0, 1, 2, 3]
    env = build(orders(seeds), members=4, seed=seeds, action_tables=tables)
    assert env.single_action_space.n == 4
    env.reset()
    actions = np.random.default_rng(0).integers(4, size=(50, 8))
    for step in range(50):
        _, reward, *_, info = env.step(torch.from_numpy(actions[step]))
        game = info["task"].repeat_interleave(2)
        count = info["final_obs"][:, 0]
        native = torch.tensor([tables[g][a] for g, a in zip(game, actions[step], strict=True)])
        assert torch.equal(reward, count * (1 + native) + 100 * game)


@pytest.mark.parametrize("max_steps", [None, 3])
@pytest.mark.parametrize("schedule", [Cyclic(10, 3), At((4, 6, 40, 41)), RandomOrder(2, 3)])
def test_max_truncations_bounds_every_window(toy, build, schedule, max_steps):
    if isinstance(schedule, At):
        schedule = At(schedule.steps, tasks=3)
    env = build(schedule, num_envs=3, max_steps=max_steps)
    env.reset()
    toy.assert_bounded(env)


def test_masked_and_seeded_resets(toy, build):
    seeds = [0, 1, 2]
    env = build(orders(seeds), members=3, seed=seeds)
    env.reset(seed=seeds)
    first = toy.record(env, 9)
    counts = env.step(torch.zeros(6, dtype=torch.int64))[0][:, 0]
    mask = torch.tensor([True, False, False, True, False, True])
    obs, _ = env.reset(options={"reset_mask": mask})
    assert torch.equal(obs[:, 0], counts * ~mask)
    env.reset(seed=seeds)
    assert env.steps == 0
    np.testing.assert_array_equal(toy.record(env, 9).obs, first.obs)


def test_bad_arguments_are_refused(toy, build):
    with pytest.raises(ValueError, match="members must switch together"):
        build(MemberSchedules([Periodic(4), Periodic(5)]), members=2)
    with pytest.raises(ValueError, match="1 schedules for 2 members"):
        build(MemberSchedules([Periodic(4)]), members=2)
    with pytest.raises(ValueError, match="2 seeds for 3 members"):
        build(Periodic(4), members=3, seed=[0, 1])
    with pytest.raises(ValueError, match="3 tables of one length"):
        build(Periodic(4), action_tables=[[0], [0, 1], [0]])
    with pytest.raises(ValueError, match="num_envs 0"):
        build(Periodic(4), num_envs=0)
    env = build(Periodic(4))
    env.reset()
    with pytest.raises(ValueError, match="there are 3 ids"):
        toy.record(env, 10)
