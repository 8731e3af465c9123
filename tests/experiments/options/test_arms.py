from neoteny.experiments.options.arms import Arm, baseline_of, in_order, labels, oracle_of, setup_of


def _arm(name: str, interventions: str, setup: str = "relu") -> Arm:
    return Arm(name, tuple(interventions.split("+")), setup)


NONE, FRESH, ADAMO = _arm("a", "none"), _arm("b", "fresh"), _arm("c", "adamo:isometry=0.1")
FRESH_ADAMO = _arm("d", "fresh+adamo:isometry=0.1")
GROUPSORT, SORT_FRESH = _arm("e", "none", "groupsort"), _arm("f", "fresh", "groupsort")


def test_roles_come_from_the_interventions_and_not_from_names() -> None:
    assert [arm.role for arm in (NONE, FRESH, ADAMO, FRESH_ADAMO)] == ["none", "fresh", "", "fresh"]
    assert _arm("ppo-fresh-none", "adamo").role == ""
    assert Arm("none", (), "").role == ""


def test_the_oracle_is_like_for_like_if_there_is_one() -> None:
    assert oracle_of(ADAMO, [NONE, FRESH, ADAMO]) is FRESH
    assert oracle_of(ADAMO, [FRESH, FRESH_ADAMO, ADAMO]) is FRESH_ADAMO
    assert oracle_of(NONE, [FRESH_ADAMO, FRESH]) is FRESH
    assert oracle_of(NONE, [FRESH_ADAMO]) is None
    assert oracle_of(FRESH_ADAMO, [FRESH]) is None


def test_other_networks_are_never_an_oracle() -> None:
    assert oracle_of(GROUPSORT, [FRESH]) is None
    assert oracle_of(GROUPSORT, [FRESH, SORT_FRESH]) is SORT_FRESH
    crelu, redo = _arm("g", "crelu"), _arm("h", "crelu+redo")
    assert oracle_of(crelu, [FRESH]) is None
    crelu_fresh = _arm("i", "crelu+fresh")
    assert oracle_of(crelu, [FRESH, crelu_fresh]) is crelu_fresh
    assert oracle_of(redo, [FRESH, crelu_fresh]) is crelu_fresh


def test_the_baseline_has_the_same_setup() -> None:
    assert baseline_of(ADAMO, [GROUPSORT, NONE]) is NONE
    assert baseline_of(ADAMO, [GROUPSORT]) is None
    assert baseline_of(NONE, [NONE, GROUPSORT]) is None


def test_a_setup_is_all_but_interventions_seeds_and_machine() -> None:
    config = {"activation": "relu", "hidden": [64], "intervention": ["none"], "seed": 0}
    same = config | {"intervention": ["fresh"], "seed": 1, "threads": 2, "task_aware": True}
    assert setup_of(config) == setup_of(same)
    assert setup_of(config) != setup_of(config | {"activation": "groupsort"})
    assert setup_of(config) != setup_of(config | {"hidden": [32]})


def test_baselines_come_first_and_oracles_last() -> None:
    assert in_order([FRESH_ADAMO, ADAMO, NONE]) == [NONE, ADAMO, FRESH_ADAMO]


def test_labels() -> None:
    assert labels(["ppo-none", "ppo-adamo", "ppo-none-groupsort"]) == {
        "ppo-none": "none",
        "ppo-adamo": "adamo",
        "ppo-none-groupsort": "none-groupsort",
    }
    assert labels(["ppo-none"]) == {"ppo-none": "ppo-none"}
    assert labels(["ppo-none", "ppo-none-crelu"]) == {
        "ppo-none": "none",
        "ppo-none-crelu": "none-crelu",
    }
    assert labels(["ppo-none-nobias", "ppo-fresh-nobias", "ppo-fresh-x=1-nobias"]) == {
        "ppo-none-nobias": "none",
        "ppo-fresh-nobias": "fresh",
        "ppo-fresh-x=1-nobias": "fresh-x=1",
    }
    assert labels(["none-x", "adam-y-x", "x-x"]) == {
        "none-x": "none",
        "adam-y-x": "adam-y",
        "x-x": "x",
    }
    long = labels(["a" * 5000, "a" * 5001])
    assert sorted(map(len, long.values())) == [52, 52]
    assert len(set(long.values())) == 2
