"""Supervised streams: orders, labels and pixels against NumPy; MNIST and CIFAR from small files."""

import gzip
import json
import pickle
import sys

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from neoteny.core import rng
from neoteny.envs.datasets import Dataset, load_dataset
from neoteny.wrappers import (
    Change,
    Cyclic,
    LabelNoise,
    LabelPermutation,
    ObservationDropout,
    ObservationNoise,
    Periodic,
    RewardFlip,
    Sinusoidal,
    StickyActions,
    read_stream,
)
from neoteny.wrappers.supervised import RandomLabels, SupervisedStream
from neoteny.wrappers.supervised_streams import make_supervised, supervised

SEEDS = (3, 4, 11)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 17, (50, 4, 3, 2)).astype(np.uint8))
    return Dataset(images, torch.from_numpy(generator.integers(0, 7, 50)), 7)


def test_every_member_sees_every_image_once_an_epoch_in_its_own_order(data):
    stream = SupervisedStream(data, [], Periodic(10_000), SEEDS)
    rows = stream.draw(minibatches=30, size=15).rows.transpose(0, 1).flatten(1)  # 9 epochs of 50
    epochs = rows.view(len(SEEDS), 9, 50)
    assert torch.equal(epochs.sort(-1).values, torch.arange(50).expand_as(epochs))
    assert len({tuple(order) for order in epochs.flatten(0, 1).tolist()}) == 9 * len(SEEDS)
    again = SupervisedStream(data, [], Periodic(10_000), SEEDS)
    parts = [again.draw(count, 15).rows for count in (1, 7, 2, 20)]
    assert torch.equal(torch.cat(parts).transpose(0, 1).flatten(1), rows)
    for member, seed in enumerate(SEEDS):
        alone = SupervisedStream(data, [], Periodic(10_000), [seed]).draw(30, 15)
        assert torch.equal(alone.rows.flatten(), rows[member])


def test_random_labels_are_even_fixed_within_a_task_and_unrelated_between_tasks():
    change = RandomLabels(10, SEEDS)
    sample = torch.arange(20_000).expand(3, -1)
    truth = sample % 10
    tasks = [change.label(truth, task, sample) for task in range(4)]
    for labels in tasks:
        assert labels.dtype == torch.int64
        for member in labels:
            assert chisquare(np.bincount(member, minlength=10)).pvalue > 1e-3
    flat = torch.stack(tasks).flatten(0, 1)
    agreement = (flat[:, None] == flat[None]).double().mean(-1)
    others = agreement[~torch.eye(len(flat), dtype=torch.bool)]
    assert (agreement.diagonal() == 1).all()
    assert (others - 0.1).abs().max() < 5 * (0.09 / 20_000) ** 0.5
    assert abs(float((flat == truth[0]).double().mean()) - 0.1) < 5 * (0.09 / 240_000) ** 0.5
    picked = torch.randint(20_000, (3, 64), generator=torch.Generator().manual_seed(0))
    assert torch.equal(change.label(truth[:, :64], 2, picked), tasks[2].gather(1, picked))


def test_a_share_of_the_random_labels_is_replaced_by_each_task():
    sample = torch.arange(20_000).expand(3, -1)
    truth = torch.zeros_like(sample)
    for share in (0.1, 0.3, 0.75):
        change = RandomLabels(1000, SEEDS, share)
        tasks = torch.stack([change.label(truth, task, sample) for task in range(21)])
        replaced = (tasks[1:] != tasks[:-1]).double()  # one in 1000 keeps its class by chance
        expected = share * 0.999
        spread = (share * (1 - share) / 20_000) ** 0.5
        assert (replaced.mean(-1) - expected).abs().max() < 5 * spread
        assert (replaced[:, 0] != replaced[:, 1]).any()
        in_all = replaced.sum(0)  # over 20 tasks: 20 * share draws, up to one
        assert in_all.max() <= np.ceil(20 * share)
        for member in tasks[-1]:
            assert chisquare(np.bincount(member, minlength=1000)).pvalue > 1e-3


def test_all_labels_replaced_are_the_labels_of_each_task_by_itself():
    sample, truth = torch.arange(5000).expand(3, -1), torch.zeros(3, 5000, dtype=torch.int64)
    keys = rng.lane_keys(SEEDS, 1, "RandomLabels")[:, None]
    for task in (0, 1, 77, 99_999):
        words = rng.bits(keys, task, sample)
        found = RandomLabels(10, SEEDS, 1.0).label(truth, task, sample)
        assert torch.equal(found, (words * 10) >> 32)


def test_the_option_share_reaches_the_labels_of_the_stream():
    gradual = make_supervised("digits-random-labels", SEEDS, task_steps=600, share=0.25)
    (change,) = gradual.changes
    assert isinstance(change, RandomLabels)
    assert change.share == 0.25
    rows = torch.arange(1200).expand(3, -1)
    changed = (gradual.labels(rows, 1) != gradual.labels(rows, 0)).double().mean()
    assert abs(float(changed) - 0.225) < 5 * (0.225 * 0.775 / 3600) ** 0.5


def test_random_labels_are_the_same_on_numpy_for_any_task_array_and_survive_json():
    change = RandomLabels(7, SEEDS)
    y = np.zeros((3, 40), np.int64)
    sample = np.arange(120).reshape(3, 40)
    task = np.arange(3)[:, None]
    found = change.label(y, task, sample)
    there = change.label(*(torch.from_numpy(x) for x in (y, task, sample)))
    np.testing.assert_array_equal(found, there.numpy())
    for member in range(3):
        one = RandomLabels(7, SEEDS[member]).label(y[member], member, sample[member])
        np.testing.assert_array_equal(found[member], one)
    assert Change.from_dict(change.to_dict()) == change


def test_permuted_pixels_and_shuffled_classes_are_numpys_permutations():
    permuted = make_supervised("digits-permuted", SEEDS, task_steps=600)
    shuffled = make_supervised("digits-label-shuffle", SEEDS, task_steps=600)
    plain = load_dataset("digits").first(1200)
    pixels = plain.images.numpy().astype(np.float64)
    pixels = ((pixels - pixels.mean()) / pixels.std()).reshape(1200, 64)
    for index in range(4):  # 300 samples each: two minibatches of the first task, two of the second
        task = index // 2
        samples, renamed = permuted.draw(1, 300), shuffled.draw(1, 300)
        (obs, label), (seen, name) = samples[0], renamed[0]
        assert obs.shape == (3, 300, 8, 8, 1)
        assert obs.dtype == torch.float32
        for member, seed in enumerate(SEEDS):
            rows = samples.rows[0, member].numpy()
            order = np.random.default_rng([seed, task]).permutation(64)
            flat = obs[member].flatten(1).numpy()
            np.testing.assert_allclose(flat, pixels[rows][:, order], atol=1e-5)
            np.testing.assert_array_equal(label[member], plain.labels[rows])
            np.testing.assert_allclose(seen[member].flatten(1), pixels[rows], atol=1e-5)
            names = np.random.default_rng([seed, task]).permutation(10)
            np.testing.assert_array_equal(name[member], names[plain.labels[rows]])


def test_pixels_move_with_their_channels(data):
    stream = make_supervised("digits-permuted", [0])
    change = type(stream.changes[0])(data.shape, 5, (0,), over="pixels", keep_first=False)
    colours = SupervisedStream(data, [change], Periodic(100), [0])
    obs, _ = colours.draw(1, 50)[0]
    rows = torch.arange(50)[None]
    order = np.random.default_rng([0, 0]).permutation(12)
    plain = SupervisedStream(data, [], Periodic(100), [0]).observations(rows, 0)
    seen = colours.observations(rows, 0)
    assert torch.equal(seen[0].flatten(1, 2), plain[0].flatten(1, 2)[:, order])
    assert abs(float(obs.mean())) < 1e-6
    assert abs(float(obs.std(correction=0)) - 1) < 1e-6


def test_accuracy_is_counted_since_the_last_row_and_since_the_task_began(data):
    stream = SupervisedStream(data, [], Periodic(40), (0, 1))
    right = [(3, 4), (5, 0), (10, 10), (1, 2), (0, 6)]
    rows = []
    for correct in right:
        stream.draw(2, 10)
        stream.score(torch.tensor(correct), 20)
        rows.append(stream.collect())
    online = torch.stack([row["online_accuracy"] for row in rows])
    assert torch.equal(online, torch.tensor(right).double() / 20)
    task = torch.stack([row["task_accuracy"] for row in rows])
    expected = torch.tensor([[3 / 20, 4 / 20], [8 / 40, 4 / 40], [0.5, 0.5], [11 / 40, 12 / 40]])
    assert torch.allclose(task[:4], expected.double(), atol=1e-7)
    assert torch.equal(task[4], online[4])


def test_tasks_last_whole_iterations_and_the_stream_goes_on_from_its_state(data):
    stream = make_supervised("digits-random-labels", SEEDS, "cpu", 1000, 384)
    assert stream.boundaries(4000) == [1152, 2304, 3456]
    stream.draw(4, 96)
    stream.score(torch.tensor([1, 2, 3]), 384)
    again = make_supervised("digits-random-labels", SEEDS, "cpu", 1000, 384)
    again.load_state_dict(stream.state_dict())
    for _ in range(4):
        one, two = stream.draw(4, 96), again.draw(4, 96)
        assert torch.equal(one.rows, two.rows)
        assert torch.equal(one[3][1], two[3][1])
    assert torch.equal(stream.collect()["online_accuracy"], again.collect()["online_accuracy"])


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.tobytes()


def test_mnist_is_read_from_idx_files_compressed_or_not(tmp_path):
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    labels = generator.integers(0, 10, 30).astype(np.uint8)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(labels))
    found = load_dataset("mnist", tmp_path)
    np.testing.assert_array_equal(found.images[..., 0], images)
    np.testing.assert_array_equal(found.labels, labels)
    stream = make_supervised("mnist-permuted", [0, 1], data=str(tmp_path), images=20)
    assert stream.draw(2, 4)[1][0].shape == (2, 4, 28, 28, 1)
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(labels)[:-1])
    with pytest.raises(ValueError, match="not whole"):
        load_dataset("mnist", tmp_path)
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(labels[:-1]))
    with pytest.raises(ValueError, match="30 images but 29 labels"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(("name", "key"), [("cifar10", b"labels"), ("cifar100", b"fine_labels")])
def test_cifar_is_read_from_its_python_batches(tmp_path, name, key):
    generator = np.random.default_rng(2)
    small = name == "cifar10"
    folder = tmp_path / ("cifar-10-batches-py" if small else "cifar-100-python")
    folder.mkdir()
    files = [f"data_batch_{i}" for i in range(1, 6)] if small else ["train"]
    planes = generator.integers(0, 256, (len(files), 4, 3, 32, 32)).astype(np.uint8)
    labels = generator.integers(0, 10, (len(files), 4))
    for file, part, label in zip(files, planes, labels, strict=True):
        batch = {b"data": part.reshape(4, -1), key: label.tolist()}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=2))
    found = load_dataset(name, tmp_path)
    assert found.classes == (10 if small else 100)
    np.testing.assert_array_equal(found.images, np.moveaxis(planes.reshape(-1, 3, 32, 32), 1, -1))
    np.testing.assert_array_equal(found.labels, labels.ravel())


class Program:
    def __reduce__(self):
        return (print, ("a pickle ran",))


def test_a_pickle_that_is_a_program_is_refused(tmp_path, capsys):
    (tmp_path / "train").write_bytes(pickle.dumps(Program()))
    with pytest.raises(ValueError, match=r"no batch of CIFAR: it names builtins\.print"):
        load_dataset("cifar100", tmp_path)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist-permuted", {"data": "nowhere"}, "put the data set's files there"),
        ("cifar10-permuted", {"data": "nowhere"}, "data_batch_1 is not in"),
        ("digits-upside-down", {}, "use one of digits-permuted, digits-random-labels"),
        ("digits-permuted", {"images": 5000}, "the data set has 1797"),
        ("digits-permuted", {"share": 0.5}, "digits-permuted has no random labels"),
        ("digits-random-labels", {"share": 0}, r"share is 0: it must be in \(0, 1\]"),
        ("digits-permuted", {"tasks": 0}, "tasks is 0: it must be from 1 to 100,000"),
    ],
)
def test_bad_input_is_told_in_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_supervised(name, [0], **options)
    assert "\n" not in str(caught.value)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'neoteny\[supervised\]'"):
        make_supervised("digits-permuted", [0])
    assert len(supervised()) == 12


FILE = """
data: digits
schedule: {kind: Cyclic, tasks: 3}
changes:
  - {kind: LabelPermutation, keep_first: true}
  - {kind: LabelNoise, fractions: [0.0, 0.5]}
  - {kind: ObservationNoise, stds: [0.0, 1.0]}
options: {images: 200}
"""


def test_a_file_says_the_same_as_python(tmp_path):
    (tmp_path / "mine.yaml").write_text(FILE)
    definition = read_stream(tmp_path / "mine.yaml")
    ours = definition.build(SEEDS, task_steps=100, steps_per_iteration=60)
    changes = [
        LabelPermutation(10, 3, SEEDS),
        LabelNoise(10, (0.0, 0.5), SEEDS),
        ObservationNoise((8, 8, 1), (0.0, 1.0), SEEDS),
    ]
    images = load_dataset("digits").first(200)
    theirs = SupervisedStream(images, changes, Cyclic(120, 3), SEEDS)
    assert ours.changes == theirs.changes
    assert ours.boundaries(400) == [120, 240, 360]
    for one, two in zip(ours.draw(6, 60), theirs.draw(6, 60), strict=True):
        assert all(map(torch.equal, one, two))
    assert json.loads(json.dumps(definition.to_dict()))["data"] == "digits"


@pytest.mark.parametrize(
    ("changes", "schedule", "message"),
    [
        ([RewardFlip()], Periodic(10), "acts on reward, but a supervised stream has only"),
        ([StickyActions((0.1,))], Periodic(10), "acts on action, but a supervised stream"),
        ([LabelNoise(7, (0.5,), (1, 2))], Periodic(10), "is for 2 members, not 3"),
        ([ObservationDropout((9,), 2)], Periodic(10), "is for observations of shape"),
        ([], Sinusoidal(100, 2), "give a supervised stream a schedule that switches"),
    ],
)
def test_what_does_not_fit_a_supervised_stream_is_refused(data, changes, schedule, message):
    with pytest.raises(ValueError, match=message):
        SupervisedStream(data, changes, schedule, SEEDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: digit", "data: data set 'digit' is unknown: did you mean 'digits'"),
        (
            "data: digits\nenvironments: CartPole-v1",
            "key 'environments' is unknown: use one of",
        ),
        ("data: digits\noptions: {image: 3}", "key 'image' is unknown: did you mean 'images'"),
        ("data: digits\nchanges: [RewardFlip]", "acts on reward, but a supervised stream has"),
        ("data: digits\nschedule: {kind: Sinusoidal, tasks: 2}", "schedule that switches"),
    ],
)
def test_a_malformed_file_is_told_in_one_line(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_stream(tmp_path / "mine.yaml").build([0])
    assert "\n" not in str(caught.value)
