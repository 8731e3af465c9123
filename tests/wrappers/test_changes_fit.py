"""Changes and the environments that they are for."""

import gymnasium
import numpy as np
import pytest

from neoteny.wrappers import (
    ActionPermutation,
    Dynamics,
    LabelPermutation,
    LinearDrift,
    NonStationary,
    NonStationaryVector,
    ObservationNoise,
    ObservationPermutation,
    Periodic,
    RewardFlip,
)


@pytest.mark.parametrize(
    ("changes", "schedule", "message"),
    [
        ([ObservationPermutation((3,), 2)], Periodic(5), r"of shape \(3,\); the environment has"),
        ([ActionPermutation(5, 2)], Periodic(5), "for 5 discrete actions; the environment has"),
        ([LabelPermutation(5, 2)], Periodic(5), "acts on label"),
        ([Dynamics("mass", (1, 2))], Periodic(5), "sets 'mass', which .* lacks; it has gravity"),
        ([RewardFlip()], LinearDrift(5), "knows no way between two tasks"),
    ],
)
def test_an_environment_that_a_change_does_not_fit_is_refused(changes, schedule, message):
    with pytest.raises(ValueError, match=message):
        NonStationary(gymnasium.make("CartPole-v1"), schedule, changes)


def test_a_parameter_that_a_device_environment_lacks_is_refused(tracks):
    with pytest.raises(ValueError, match="which Track lacks; its parameters are offset, goal"):
        NonStationaryVector(tracks.Track(2), Periodic(5), [Dynamics("mass", (1, 2))])


def test_the_space_of_observations_grows_with_offsets_and_noise(tracks):
    change = ObservationNoise((3,), 0.5)
    vector = NonStationaryVector(tracks.Track(2), Periodic(5), [change])
    single = NonStationary(tracks.Walk(), Periodic(5), [change])
    assert vector.single_observation_space == single.observation_space
    assert np.isinf(vector.observation_space.high).all()
    assert vector.observation_space.shape == (2, 3)
