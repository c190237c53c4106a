"""The loop: the numbers it must give, the memory it may not take, and how it ends."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIGS

from mlpcli.config import loading as config
from mlpcli.config.settings import Config
from mlpcli.data import augment
from mlpcli.data.dataset import load_train_val
from mlpcli.errors import CheckpointError, DivergedError
from mlpcli.training.trainer import EpochResult, Progress, Training


@pytest.fixture
def note(shapes_dir: Path) -> Config:
    """The note's configuration on the small data set: 150 images, so 2 steps an epoch."""
    return settings(shapes_dir)


@pytest.fixture(autouse=True)
def _few_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "COUNT", 5)


def settings(shapes_dir: Path, *sets: str, name: str = "note") -> Config:
    own = (f"data.dir={shapes_dir}", "data.val_size=50", "training.epochs=3")
    if name in ("fast", "best", "deep"):
        own += ("features.components=30",)
    return config.load(CONFIGS / f"{name}.yaml", (*own, *sets))


def start(config: Config) -> Training:
    return Training(config, load_train_val(config.data))


def finish(training: Training) -> list[EpochResult]:
    return list(training.epochs(lambda progress: None))


def reference_losses(training: Training, steps: int) -> list[float]:
    """The note's network trained by plain SGD, written anew: no buffers, no views, float64."""
    split, order = training.dataset.splits["train"], training.train_loader.sampler.order.copy()
    P = {name: view.copy() for name, view in training.model.network.named_params.items()}
    rng = np.random.default_rng()
    rng.bit_generator.state = training.streams["order"].bit_generator.state
    pixels = split.images[split.rows] / 255
    planes = pixels.reshape(-1, 3, 1024)
    mean, std = planes.mean(axis=(0, 2)), planes.std(axis=(0, 2))
    losses = []
    while True:
        rng.shuffle(order)
        for at in range(0, len(order), 128):
            rows = order[at : at + 128]
            images = split.images[rows].reshape(-1, 3, 1024) / 255
            x = ((images - mean[:, None]) / std[:, None]).reshape(len(rows), 3072)
            y = np.zeros((len(rows), 10))
            y[np.arange(len(rows)), split.labels[rows]] = 1
            z = 1 / (1 + np.exp(-(x @ P["W1"] + P["b1"])))
            yhat = 1 / (1 + np.exp(-(z @ P["W2"] + P["b2"])))
            losses.append(-(y * np.log(yhat) + (1 - y) * np.log(1 - yhat)).sum() / len(rows))
            if len(losses) == steps:
                return losses
            back2 = (yhat - y) / len(rows)
            back1 = back2 @ P["W2"].T * z * (1 - z)
            for name, gradient in [
                ("W1", x.T @ back1),
                ("b1", back1.sum(axis=0)),
                ("W2", z.T @ back2),
                ("b2", back2.sum(axis=0)),
            ]:
                P[name] = P[name] - 0.1 * gradient


def step_losses(training: Training, steps: int) -> list[float]:
    losses: list[float] = []
    total = 0.0

    def on_step(progress: Progress) -> None:
        nonlocal total
        before = 0.0 if progress.position <= 128 else total
        size = progress.position % 128 or 128
        losses.append((progress.loss_sum - before) / size)
        total = progress.loss_sum

    for _ in training.epochs(on_step):
        if len(losses) >= steps:
            break
    return losses[:steps]


def test_the_first_20_losses_are_those_of_an_independent_implementation(shapes_dir: Path) -> None:
    sets = ("training.dtype=float64", "training.epochs=10")
    training = start(settings(shapes_dir, *sets))
    expected = reference_losses(training, 20)
    np.testing.assert_allclose(step_losses(training, 20), expected, rtol=1e-10)


def test_the_first_20_losses_are_those_of_pytorch(shapes_dir: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    sets = ("training.dtype=float64", "training.epochs=10", "augment.flips=false")
    training = start(settings(shapes_dir, *sets, name="momentum"))
    P = [
        torch.tensor(v.copy(), requires_grad=True)
        for v in training.model.network.named_params.values()
    ]
    options = training.config.optimizer
    optimizer = torch.optim.SGD(P, options.learning_rate, options.momentum)
    split, order = training.dataset.splits["train"], training.train_loader.sampler.order.copy()
    rng = np.random.default_rng()
    rng.bit_generator.state = training.streams["order"].bit_generator.state
    expected: list[float] = []
    while len(expected) < 20:
        rng.shuffle(order)
        for at in range(0, len(order), 128):
            rows = order[at : at + 128]
            shift, scale = training.features.shift, training.features.scale
            x = torch.tensor(split.images[rows] / 255 * scale + shift)
            y = torch.nn.functional.one_hot(torch.tensor(split.labels[rows]), 10).double()
            t = torch.sigmoid(x @ P[0] + P[1]) @ P[2] + P[3]
            bce = torch.nn.functional.binary_cross_entropy_with_logits
            loss = bce(t, y, reduction="sum") / len(rows)
            rate = options.learning_rate * training.schedule(len(expected) / 2)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss.backward()
            with torch.no_grad():
                P[0] *= 1 - rate * options.weight_decay
                P[2] *= 1 - rate * options.weight_decay
            optimizer.step()
            expected.append(loss.item())
    np.testing.assert_allclose(step_losses(training, 20), expected[:20], rtol=1e-10)


def test_a_recorded_curve_is_met(shapes_dir: Path) -> None:
    """A change of the arithmetic, of the draws or of the shapes shows here first."""
    training = start(settings(shapes_dir, "training.dtype=float64"))
    losses = [result.train_loss for result in finish(training)]
    np.testing.assert_allclose(
        losses, [6.0674298221052485, 3.645767014891301, 3.1773603024575428], rtol=1e-9
    )


@pytest.mark.parametrize("name", ["note", "momentum", "logistic_squared", "fast", "best", "deep"])
def test_a_step_allocates_no_array(shapes_dir: Path, name: str) -> None:
    components = config.find(CONFIGS / f"{name}.yaml").get("features.components")
    own = (f"features.components={components.value}",) if components else ()
    sets = ("training.epochs=20", *own)
    training = start(settings(shapes_dir, *sets, name=name))
    peaks: list[int] = []

    def on_step(progress: Progress) -> None:
        if progress.step > 4 and progress.position == 150:  # within the epoch, after warm-up
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        before_step()

    before = 0

    def before_step() -> None:
        nonlocal before
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    for _ in training.epochs(on_step):
        pass
    tracemalloc.stop()
    # NumPy casts uint8 through a buffer of 8192 numbers of its own, in version 1.26 of 64 KiB and a
    # bit more; a batch of inputs has 1.5 MiB, one of hidden units 256 KiB.
    assert 0 < max(peaks) < 72 * 1024, peaks


def test_an_interrupted_epoch_goes_on_to_the_same_bits(shapes_dir: Path) -> None:
    for name, optimizer in [
        ("note", "sgd"),
        ("momentum", "sgd"),
        ("momentum", "adamw"),
        ("fast", "sgd"),
        ("best", "sgd"),
        ("deep", "sgd"),
    ]:
        own = settings(shapes_dir, f"optimizer.name={optimizer}", name=name)
        through = start(own)
        results = finish(through)

        def stop(progress: Progress) -> None:
            if progress.step == 3:  # in the middle of the second epoch
                raise KeyboardInterrupt

        stopped = start(own)
        with pytest.raises(KeyboardInterrupt):
            list(stopped.epochs(stop))
        arrays, values = stopped.state()
        resumed = start(own)
        resumed.restore(arrays, values)
        tail = finish(resumed)
        assert resumed.model.network.params.tobytes() == through.model.network.params.tobytes()
        for key, array in through.optimizer.state.items():
            assert resumed.optimizer.state[key].tobytes() == array.tobytes()
        kept = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "is_best")
        for mine, theirs in zip(tail, results[1:], strict=True):
            assert [getattr(mine, k) for k in kept] == [getattr(theirs, k) for k in kept]


def test_a_state_of_another_network_is_refused(shapes_dir: Path, note: Config) -> None:
    arrays, values = start(settings(shapes_dir, "model.hidden=[8]")).state()
    with pytest.raises(CheckpointError, match="no params of"):
        start(note).restore(arrays, values)
    arrays, values = start(note).state()
    order = arrays["order"]
    for other in ({}, arrays | {"more": order}, arrays | {"order": order[:-1]}):
        with pytest.raises(CheckpointError):
            start(note).restore(other, values)
    with pytest.raises(CheckpointError, match="its order"):
        start(note).restore(arrays | {"order": order * 0}, values)


@pytest.mark.parametrize(
    "changes",
    [
        {"progress": {"x": 1}},
        {"progress": []},
        {"progress": {"epoch": -1}},
        {"progress": {"epoch": 1.0}},
        {"progress": {"epoch": True}},
        {"progress": {"loss_sum": float("nan")}},
        {"progress": {"seconds": None}},
        {"progress": {"best_val_loss": "0"}},
        {"progress": {"step": 1}},
        {"progress": {"position": 10**9}},
        {"progress": {"position": 151, "step": 2}},
        {"rng": {}},
        {"rng": 1},
        {"rng": {"order": {"bit_generator": "PCG64", "state": {"state": 2**300, "inc": -1}}}},
    ],
)
def test_a_state_that_no_training_was_ever_in_is_refused(
    note: Config, changes: dict[str, object]
) -> None:
    training = start(note)
    arrays, values = training.state()
    with pytest.raises(CheckpointError, match=r"not valid|is not one of epoch"):
        training.restore(arrays, values | changes)
    training.restore(arrays, values)


def test_a_state_that_is_not_finite_is_not_given(note: Config) -> None:
    training = start(note)
    training.model.network.params[-1] = np.nan
    with pytest.raises(DivergedError, match="a parameter is not finite"):
        training.state()


def test_the_same_seed_gives_the_same_bits_and_another_does_not(shapes_dir: Path) -> None:
    runs = [start(settings(shapes_dir, f"seed={seed}")) for seed in (0, 0, 1)]
    for run in runs:
        finish(run)
    first, again, other = (run.model.network.params.tobytes() for run in runs)
    assert first == again != other


def test_patience_ends_training_early(shapes_dir: Path) -> None:
    sets = ("training.epochs=50", "training.patience=2", "optimizer.learning_rate=1e-12")
    results = finish(start(settings(shapes_dir, *sets)))
    assert [result.epoch for result in results] == [1, 2, 3]


def test_divergence_names_its_place(shapes_dir: Path) -> None:
    sets = ("optimizer.learning_rate=1e30", "loss=softmax_cross_entropy", "model.activation=relu")
    with pytest.raises(DivergedError, match=r"epoch 1, step \d, learning rate 1e\+30"):
        finish(start(settings(shapes_dir, *sets)))


def test_without_a_val_split_the_last_epoch_is_the_best(shapes_dir: Path) -> None:
    training = start(settings(shapes_dir, "data.val_size=0"))
    results = finish(training)
    assert all(result.is_best and result.val_loss is None for result in results)
    assert training.progress.best_epoch == 3


def test_progress_counts_every_image(note: Config) -> None:
    training = start(note)
    results = finish(training)
    assert training.progress.images == 3 * 150
    assert training.progress.step == 6
    assert [result.learning_rate for result in results] == [0.1] * 3
    assert training.progress.best_val_accuracy == max(r.val_accuracy or 0 for r in results)


@pytest.mark.parametrize("name", ["note", "momentum", "fast"])
def test_what_is_saved_acts_on_pixels(shapes_dir: Path, name: str) -> None:
    training = start(settings(shapes_dir, name=name))
    finish(training)
    P = training.pixel_params()
    batch = next(iter(training.val_loader))
    expected = training.model.forward(batch.inputs)
    val = training.dataset.splits["val"]
    z = 1 / (1 + np.exp(-(val.images[val.rows] / 255 @ P["W1"] + P["b1"])))
    np.testing.assert_allclose(z @ P["W2"] + P["b2"], expected, atol=1e-4)
