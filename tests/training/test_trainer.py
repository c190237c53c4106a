"""The loop: the numbers it must give, the memory it may not take, and how it ends."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, replace
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


def logistic(t: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-t))


def gelu_slope(t: np.ndarray) -> np.ndarray:
    c, a = np.sqrt(2 / np.pi), 0.044715
    u = np.tanh(c * (t + a * t**3))
    return (1 + u) / 2 + t * (1 - u**2) * c * (1 + 3 * a * t**2) / 2


# Each activation with its derivative, and each loss with the predictions it makes of logits.
ACTIVATIONS = {
    "sigmoid": (logistic, lambda t: logistic(t) * (1 - logistic(t))),
    "tanh": (np.tanh, lambda t: 1 / np.cosh(t) ** 2),
    "relu": (lambda t: np.where(t > 0, t, 0), lambda t: (t > 0) * 1.0),
    "gelu": (
        lambda t: t * logistic(2 * np.sqrt(2 / np.pi) * (t + 0.044715 * t**3)),
        gelu_slope,
    ),
}
LOSSES = {
    "sigmoid_cross_entropy": (
        logistic,
        lambda p, y: -np.log(np.where(y == 1, p, 1 - p)).sum(),
        lambda p, y: p - y,
    ),
    "squared_error": (
        logistic,
        lambda p, y: ((p - y) ** 2).sum() / 2,
        lambda p, y: (p - y) * p * (1 - p),
    ),
    "softmax_cross_entropy": (
        lambda t: np.exp(t) / np.exp(t).sum(axis=1)[:, None],
        lambda p, y: -np.log(p[y == 1]).sum(),
        lambda p, y: p - y,
    ),
}
SCHEDULES = {
    "constant": {},
    "cosine": {"warmup_epochs": 1.5},
    "step": {"warmup_epochs": 0.5, "step_every": 1.5, "step_factor": 0.5},
}
OPTIMIZERS = {
    "sgd": {"name": "sgd", "learning_rate": 0.005},
    "momentum": {"name": "sgd", "learning_rate": 0.002, "momentum": 0.8},
    "nesterov": {"name": "sgd", "learning_rate": 0.002, "momentum": 0.8, "nesterov": True},
    "adamw": {
        "name": "adamw",
        "learning_rate": 0.001,
        "beta1": 0.8,
        "beta2": 0.95,
        "epsilon": 1e-3,
    },
}


class Reference:
    """Training written anew: whole arrays in float64, no buffers, no views, nothing of mlpcli."""

    def __init__(self, training: Training) -> None:
        self.options = training.config
        self.splits = training.dataset.splits
        weights, self.rng, _ = np.random.default_rng(self.options.seed).spawn(3)
        sizes = (3072, *self.options.model.hidden, 10)
        self.W, self.b = [], []
        for D, H in itertools.pairwise(sizes):
            self.W.append(weights.uniform(-1, 1, (D, H)) * (6 / (D + H)) ** 0.5)
            self.b.append(np.zeros(H))
        self.moments = [(0 * p, 0 * p) for p in (*self.W, *self.b)]
        self.step, self.order = 0, self.splits["train"].rows.copy()
        pixels = self.splits["train"].images[self.order].reshape(-1, 3, 1024) / 255
        self.mean, self.std = pixels.mean(axis=(0, 2)), pixels.std(axis=(0, 2))

    def batch(self, split: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.splits[split].images[rows], self.splits[split].labels[rows]
        planes = images.reshape(-1, 3, 1024) / 255
        X = (planes - self.mean[:, None]) / self.std[:, None]
        return X.reshape(-1, 3072), (labels[:, None] == np.arange(10)) * 1.0

    def rate(self) -> float:
        schedule, options = self.options.schedule, self.options.optimizer
        epoch = self.step / np.ceil(len(self.order) / self.options.training.batch_size)
        warmup, factor = schedule.warmup_epochs, 1.0
        if epoch < warmup:
            factor = epoch / warmup
        elif schedule.name == "cosine":
            done = (epoch - warmup) / (self.options.training.epochs - warmup)
            factor = np.cos(np.pi / 2 * done) ** 2
        elif schedule.name == "step":
            factor = schedule.step_factor ** (epoch // schedule.step_every)
        return options.learning_rate * factor

    def forward(self, X: np.ndarray, Y: np.ndarray) -> tuple[list[np.ndarray], float, np.ndarray]:
        """Return the pre-activations of each layer, the loss's sum, the predictions."""
        act = ACTIVATIONS[self.options.model.activation][0]
        predictions, value, _ = LOSSES[self.options.loss]
        T = [X @ self.W[0] + self.b[0]]
        for W, b in zip(self.W[1:], self.b[1:], strict=True):
            T.append(act(T[-1]) @ W + b)
        P = predictions(T[-1])
        return T, value(P, Y), P

    def update(self, X: np.ndarray, Y: np.ndarray) -> None:
        act, slope = ACTIVATIONS[self.options.model.activation]
        T, _, P = self.forward(X, Y)
        G = LOSSES[self.options.loss][2](P, Y) / len(X)
        dW, db = [], []
        for i in reversed(range(len(self.W))):
            inputs = act(T[i - 1]) if i else X
            dW.insert(0, inputs.T @ G)
            db.insert(0, G.sum(axis=0))
            if i:
                G = G @ self.W[i].T * slope(T[i - 1])
        rate, options = self.rate(), self.options.optimizer
        self.step += 1
        moves = [self.move(k, g, rate) for k, g in enumerate((*dW, *db))]
        kept, L = 1 - rate * options.weight_decay, len(self.W)
        self.W = [kept * W - move for W, move in zip(self.W, moves[:L], strict=True)]
        self.b = [b - move for b, move in zip(self.b, moves[L:], strict=True)]

    def move(self, k: int, g: np.ndarray, rate: float) -> np.ndarray:
        options, (m, s), t = self.options.optimizer, self.moments[k], self.step
        if options.name == "adamw":
            m = options.beta1 * m + (1 - options.beta1) * g
            s = options.beta2 * s + (1 - options.beta2) * g**2
            self.moments[k] = m, s
            m, s = m / (1 - options.beta1**t), s / (1 - options.beta2**t)
            return rate * m / (np.sqrt(s) + options.epsilon)
        m = options.momentum * m + g
        self.moments[k] = m, s
        return rate * (g + options.momentum * m if options.nesterov else m)

    def epochs(self) -> Iterator[tuple[list[float], dict[str, float]]]:
        """Yield the loss of each batch of an epoch, and what is reported of it."""
        size = self.options.training.batch_size
        while True:
            self.rng.shuffle(self.order)
            losses, total, correct = [], 0.0, 0
            for at in range(0, len(self.order), size):
                X, Y = self.batch("train", self.order[at : at + size])
                _, value, P = self.forward(X, Y)
                losses.append(value / len(X))
                total += value
                correct += (P.argmax(axis=1) == Y.argmax(axis=1)).sum()
                rate = self.rate()
                self.update(X, Y)
            X, Y = self.batch("val", self.splits["val"].rows)
            _, value, P = self.forward(X, Y)
            yield (
                losses,
                {
                    "train_loss": total / len(self.order),
                    "train_accuracy": correct / len(self.order),
                    "val_loss": value / len(X),
                    "val_accuracy": (P.argmax(axis=1) == Y.argmax(axis=1)).mean(),
                    "learning_rate": rate,
                },
            )


def followed(training: Training) -> tuple[list[EpochResult], list[list[float]]]:
    """Train to the end; return what is reported of each epoch, and the losses of its batches."""
    losses: list[list[float]] = []
    sums, images = [0.0], [0]

    def on_step(progress: Progress) -> None:
        if progress.position <= training.config.training.batch_size:
            losses.append([])
            sums[0], images[0] = 0.0, 0
        mean = (progress.loss_sum - sums[0]) / (progress.position - images[0])
        losses[-1].append(mean)
        sums[0], images[0] = progress.loss_sum, progress.position

    return list(training.epochs(on_step)), losses


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_20_steps_are_those_of_an_independent_implementation(
    shapes_dir: Path, loss: str, optimizer: str, schedule: str
) -> None:
    """Each combination with one of the activations, with weight decay, to the last digits."""
    chosen = list(SCHEDULES).index(schedule) + list(OPTIMIZERS).index(optimizer)
    options = {
        "model.activation": list(ACTIVATIONS)[(chosen + list(LOSSES).index(loss)) % 4],
        "model.hidden": [6, 5],
        "loss": loss,
        "training.dtype": "float64",
        "training.batch_size": 32,  # 5 steps per epoch, the last of 22 images
        "training.epochs": 4,
        "optimizer.weight_decay": 0.5,
        "schedule.name": schedule,
    }
    options |= {f"optimizer.{key}": value for key, value in OPTIMIZERS[optimizer].items()}
    options |= {f"schedule.{key}": value for key, value in SCHEDULES[schedule].items()}
    sets = [f"{key}={json.dumps(value)}" for key, value in options.items()]
    training = start(settings(shapes_dir, *sets))
    reference = Reference(training)
    epochs = reference.epochs()
    for results, found in zip(*followed(training), strict=True):
        losses, expected = next(epochs)
        np.testing.assert_allclose(found, losses, rtol=1e-12)
        for name, value in expected.items():
            assert getattr(results, name) == pytest.approx(value, rel=1e-12), name
    params = training.model.network.named_params
    for i, (W, b) in enumerate(zip(reference.W, reference.b, strict=True), start=1):
        np.testing.assert_allclose(params[f"W{i}"], W, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(params[f"b{i}"], b, rtol=1e-9, atol=1e-12)


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
    losses = np.concatenate(followed(training)[1])
    np.testing.assert_allclose(losses, expected[:20], rtol=1e-10)


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


@pytest.mark.parametrize("step", range(1, 7))
def test_a_run_stopped_after_any_step_reports_what_one_that_never_stopped_does(
    shapes_dir: Path, step: int
) -> None:
    """Steps 2, 4 and 6 are those of an epoch's last image, after which its validation is due."""
    note = settings(shapes_dir, "model.hidden=[8]")
    own = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "is_best")
    through = start(note)
    results = finish(through)

    def stop(progress: Progress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    stopped = start(note)
    with pytest.raises(KeyboardInterrupt):
        list(stopped.epochs(stop))
    resumed = start(note)
    resumed.restore(*stopped.state())
    tail = finish(resumed)
    for mine, theirs in zip(tail, results[(step - 1) // 2 :], strict=True):
        assert [getattr(mine, name) for name in own] == [getattr(theirs, name) for name in own]
    assert resumed.model.network.params.tobytes() == through.model.network.params.tobytes()
    assert resumed.progress.step == 6
    assert resumed.progress.images == 450


def test_a_state_of_another_network_is_refused(shapes_dir: Path, note: Config) -> None:
    arrays, values = start(settings(shapes_dir, "model.hidden=[8]")).state()
    with pytest.raises(CheckpointError, match="no params of"):
        start(note).restore(arrays, values)
    arrays, values = start(note).state()
    order = arrays["order"]
    for other, message in [
        ({}, "the network alone"),
        (arrays | {"more": order}, "holds params, order, more, expected params, order"),
        (arrays | {"order": order[:-1]}, "no order of"),
        (arrays | {"order": order.astype(np.float64)}, "no order of"),
        (arrays | {"order": order * 0}, "its order"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            start(note).restore(other, values)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"progress": {"x": 1}}, "not valid: .*unexpected keyword"),
        ({"progress": []}, "not valid: "),
        ({"progress": {"epoch": -1}}, "not valid: epoch is -1"),
        ({"progress": {"images": -1}}, "not valid: images is -1"),
        ({"progress": {"epoch": 1.0}}, "not valid: epoch is 1.0"),
        ({"progress": {"epoch": True}}, "not valid: epoch is True"),
        ({"progress": {"correct": None}}, "not valid: correct is None"),
        ({"progress": {"loss_sum": float("nan")}}, "not valid: loss_sum is nan"),
        ({"progress": {"best_val_loss": float("inf")}}, "not valid: best_val_loss is inf"),
        ({"progress": {"loss_sum": -1.0}}, "not valid: loss_sum is -1.0"),
        ({"progress": {"loss_sum": 10**400}}, "not valid: loss_sum is 1000"),
        ({"progress": {"images": 10**400}}, "not valid: images is 1000"),
        ({"progress": {"epoch": 10**400}}, "not valid: epoch is 1000"),
        ({"progress": {"seconds": 1e308}}, "not valid: seconds is 1e"),
        ({"progress": {"best_val_accuracy": 7.0}}, "not valid: best_val_accuracy is 7.0"),
        ({"progress": {"seconds": None}}, "not valid: seconds is None"),
        ({"progress": {"best_val_loss": "0"}}, "not valid: best_val_loss is '0'"),
        ({"progress": {"step": 1}}, "step is 1 after 0 epochs and 0 images"),
        ({"progress": {"epoch": 2, "step": 2}}, "step is 2 after 2 epochs and 0 images"),
        ({"progress": {"position": 10**9}}, "step is 0 after 0 epochs and 1000000000 images"),
        ({"progress": {"position": 151, "step": 2}}, "position is 151 after"),
        ({"progress": {"correct": 1}}, "correct is 1 after 0 epochs"),
        ({"progress": {"epoch_seconds": 1.0}}, "epoch_seconds is 1.0 after"),
        ({"progress": {"images": 1}}, "images is 1 after 0 epochs"),
        ({"progress": {"seconds": 1.0}}, "seconds is 1.0 after 0 epochs"),
        ({"progress": {"best_epoch": 1}}, "best_epoch is 1 after 0 epochs"),
        ({"progress": {"best_val_accuracy": 0.5}}, "best_val_accuracy is 0.5 after 0 epochs"),
        ({"progress": {"best_val_loss": 0.5}}, "best_val_loss is 0.5 after 0 epochs"),
        ({"progress": {"best_train_loss": 0.5}}, "best_train_loss is 0.5 after 0 epochs"),
        ({"rng": {}}, "not valid: 'order'"),
        ({"rng": 1}, "not valid: "),
        (
            {"rng": {"order": {"bit_generator": "PCG64", "state": {"state": 2**300, "inc": -1}}}},
            "not valid: ",
        ),
    ],
)
def test_a_state_that_no_training_was_ever_in_is_refused(
    note: Config, changes: dict[str, object], message: str
) -> None:
    training = start(note)
    arrays, values = training.state()
    with pytest.raises(CheckpointError, match=message):
        training.restore(arrays, values | changes)
    training.restore(arrays, values)


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": 0.0},
        {"images": 149},
        {"best_epoch": 0},
        {"best_epoch": 2},
        {"best_val_accuracy": None},
        {"best_val_loss": None},
        {"best_train_loss": None},
    ],
    ids=str,
)
def test_a_state_after_an_epoch_has_its_figures(note: Config, changes: dict[str, object]) -> None:
    training = start(note)
    next(training.epochs(lambda _: None))
    arrays, values = training.state()
    with pytest.raises(CheckpointError, match=f"{next(iter(changes))} is .* after 1 epochs"):
        start(note).restore(arrays, values | {"progress": values["progress"] | changes})


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
    sets = ("training.epochs=50", "training.patience=2")
    results = finish(start(settings(shapes_dir, *sets, "optimizer.learning_rate=1e-12")))
    assert [result.epoch for result in results] == [1, 2, 3]
    training = start(settings(shapes_dir, *sets, "model.hidden=[16]"))
    results = finish(training)
    assert 1 < training.progress.best_epoch == results[-1].epoch - 2


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ("optimizer.learning_rate=1e30", "data.val_size=0"),
            r"the loss is nan at .* 9\.33013e\+29$",
        ),
        (
            ("optimizer.learning_rate=1e30", "training.batch_size=150"),
            r"the validation loss is nan at .* 1e\+30$",
        ),
        (
            ("optimizer.learning_rate=1e39", "data.val_size=0", "training.batch_size=200"),
            r"a parameter is not finite at .* 1e\+39$",
        ),
    ],
)
def test_divergence_names_its_kind_and_its_place(
    shapes_dir: Path, sets: tuple[str, ...], message: str
) -> None:
    own = ("loss=softmax_cross_entropy", "model.activation=relu", "schedule.name=cosine")
    with pytest.raises(DivergedError, match=message) as caught:
        finish(start(settings(shapes_dir, *own, *sets)))
    assert " at epoch 1, step 2, learning rate " in str(caught.value)


def test_time_is_that_of_steps_and_of_whole_epochs(
    shapes_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves on by a second each time it is read: once per step, twice besides."""
    ticks = itertools.count(100.0)
    monkeypatch.setattr("mlpcli.training.trainer.time.perf_counter", lambda: next(ticks))
    training = start(settings(shapes_dir, "model.hidden=[4]"))
    for result in training.epochs(lambda progress: None):
        assert (result.images_per_second, result.seconds) == (75, 3)
    assert training.progress.seconds == 9


def test_weights_that_overflow_on_pixels_are_not_given(shapes_dir: Path) -> None:
    """Even if a single one does: a weight, or a bias, of finite weights on features."""
    training = start(settings(shapes_dir, name="momentum"))
    W = training.model.network.named_params["W1"]
    shift = training.features.shift
    W[:2, 0] = 3e38, -3e38 * shift[0] / shift[1]
    first = np.argmax(np.abs(W[:, 0]))
    W[:, 0] *= 3e38 / np.abs(W[first, 0])
    with pytest.raises(DivergedError, match="the weights on pixels are not finite"):
        training.pixel_params()
    W[:, 0] = 1e37
    with pytest.raises(DivergedError, match="the weights on pixels are not finite"):
        training.pixel_params()


def test_the_best_epoch_is_the_first_of_the_highest_validation_accuracy(note: Config) -> None:
    """Its own losses are kept, whatever follows."""
    own = replace(note, training=replace(note.training, epochs=12))
    training, best = start(own), None
    for result in training.epochs(lambda progress: None):
        assert result.is_best == (best is None or result.val_accuracy > best.val_accuracy)
        best = result if result.is_best else best
        progress = training.progress
        assert progress.best_epoch == best.epoch
        assert progress.best_val_accuracy == best.val_accuracy
        assert progress.best_val_loss == best.val_loss
        assert progress.best_train_loss == best.train_loss
    assert 1 < best.epoch < 12, "or the test shows nothing"


def test_validation_sees_images_as_they_are(shapes_dir: Path) -> None:
    """Neither flipped nor mapped nor with inputs dropped, whatever training does to its own."""
    augmented = ("augment.flips=true", "augment.shift=4", "augment.input_dropout=0.5")
    training = start(settings(shapes_dir, *augmented, "training.dtype=float64", name="fast"))
    val = training.dataset.splits["val"]
    images, labels = val.images[val.rows] / 255, val.labels[val.rows]
    for result in training.epochs(lambda progress: None):
        P = training.pixel_params()
        t = logistic(images @ P["W1"] + P["b1"]) @ P["W2"] + P["b2"]
        signed = np.where(np.arange(10) == labels[:, None], -t, t)
        assert result.val_loss == pytest.approx(np.log1p(np.exp(signed)).sum() / 50, rel=1e-5)
        assert result.val_accuracy == (t.argmax(axis=1) == labels).mean()


def test_without_a_val_split_the_last_epoch_is_the_best(shapes_dir: Path) -> None:
    training = start(settings(shapes_dir, "data.val_size=0"))
    results = finish(training)
    assert all(result.is_best and result.val_loss is None for result in results)
    assert training.progress.best_epoch == 3


def test_progress_counts_every_image(note: Config) -> None:
    training = start(note)
    assert {*asdict(training.progress).values()} == {0, None}
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
