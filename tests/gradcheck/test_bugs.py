"""The gradient check refutes each wrong gradient, and confirms each right one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from conftest import CONFIGS
from gradcheck.bugs import BUGS
from mutants import ROOT, Copy

from mlpcli.config import loading as config
from mlpcli.config.settings import Config
from mlpcli.data import features
from mlpcli.data.dataset import Dataset, load_train_val
from mlpcli.gradcheck.check import check
from mlpcli.nn.activations import ACTIVATIONS
from mlpcli.nn.losses import LOSSES

# The bugs that eight images at small weights do not show. The others are tried by `make slow`.
SUBTLE = (
    "divided_by_buffer_size",
    "divided_by_first_batch_size",
    "no_error_after_row_64",
    "no_error_of_classes_after_the_first_images",
    "images_of_one_class_count_twice",
    "no_error_at_far_logits",
    "clipped_errors",
    "softmax_of_clipped_logits",
    "no_derivative_where_saturated",
    "derivative_kept_by_batch_size",
    "bias_sum_over_the_buffer",
    "rest_of_eight_missing",
    "last_chunk_alone",
    "batch_of_one",
    "gradient_added_up_over_batches",
    "gradient_of_the_batch_before",
    "gradient_of_the_first_batch",
    "inputs_of_the_batch_before",
    "not_a_number_in_float32",
    "factor_in_float32",
    "mantissa_of_13_bits",
    "race",
    "weights_kept_from_the_first_batch",
    "loss_divided_by_buffer_size",
    "loss_of_clipped_logits",
)


def slow_unless(fast: bool, value: object) -> object:
    return pytest.param(value, marks=[] if fast else pytest.mark.slow)


def settings(shapes_dir: Path, *sets: str) -> Config:
    """The note's configuration, with 30 inputs and 24 hidden units, and 150 images: 128 and 22."""
    own = (f"data.dir={shapes_dir}", "data.val_size=50", "model.hidden=[24]")
    return config.load(
        CONFIGS / "note.yaml", (*own, "features.name=pca", "features.components=30", *sets)
    )


@pytest.fixture(scope="module")
def dataset(shapes_dir: Path) -> Dataset:
    return load_train_val(settings(shapes_dir).data)


@pytest.fixture(scope="module")
def fitted(shapes_dir: Path, dataset: Dataset) -> features.Features:
    return features.fit(settings(shapes_dir).features, dataset.splits["train"])


@pytest.fixture(autouse=True)
def _features_fitted_once(monkeypatch: pytest.MonkeyPatch, fitted: features.Features) -> None:
    monkeypatch.setattr(features, "fit", lambda config, split: fitted)


@pytest.mark.parametrize("name", [slow_unless(name in SUBTLE, name) for name in BUGS])
def test_a_bug_is_refuted_where_it_is(name: str, shapes_dir: Path, dataset: Dataset) -> None:
    bug = BUGS[name]
    report = check(settings(shapes_dir, *bug.sets), dataset, flaw=bug.change)
    refuted = {tensor.name: tensor for tensor in report.tensors if tensor.passed is False}
    assert report.passed is False
    assert refuted
    assert refuted.keys() <= set(bug.wrong or refuted)
    assert all(tensor.failures and tensor.reason for tensor in refuted.values())


def right_settings() -> list[object]:
    """Every activation, loss, dtype and depth, each combination at a seed of its own."""
    depths = ["[24]", "[24,24]", "[24,24,24]", "[24,24,24,24]"]
    networks = [(f"model.hidden={h}", f"model.activation={a}") for h in depths for a in ACTIVATIONS]
    combinations = itertools.product(
        [("model.hidden=[]",), *networks], LOSSES, ["float32", "float64"]
    )
    return [
        slow_unless(
            seed % 6 == 0, (*network, f"loss={loss}", f"training.dtype={dtype}", f"seed={seed}")
        )
        for seed, (network, loss, dtype) in enumerate(combinations)
    ]


@pytest.mark.parametrize("sets", right_settings(), ids=" ".join)
def test_right_code_is_confirmed(sets: tuple[str, ...], shapes_dir: Path, dataset: Dataset) -> None:
    report = check(settings(shapes_dir, *sets), dataset)
    assert report.passed is True, [(t.name, t.passed, t.failures) for t in report.tensors]


# Bugs that loss and gradient share: the gradient is that of the loss, and the loss is not the
# note's. What the check cannot see, the tests named here do.
NOTE, LOSS, ACTIVATION = (f"tests/nn/test_{name}.py" for name in ("note", "losses", "activations"))
SHARED = {
    "mean over classes": (
        "nn/losses.py",
        {
            "A += G\n        return (A.sum() / n).item()": "A += G\n        return A.mean().item()",
            "G /= len(T)  # G = (Ŷ − Y)/n: equation (8)": "G /= T.size",
        },
        f"{NOTE}::test_s11_ten_classes",
    ),
    "squared error without ½": (
        "nn/losses.py",
        {"0.5 * A.sum()": "A.sum()", "G *= A\n        G /= n": "G *= A\n        G /= 0.5 * n"},
        f"{LOSS}::test_squared_error_is_equation_1",
    ),
    "smoothed labels": (
        "nn/losses.py",
        {
            "A *= Y  #": "A *= 0.9 * Y + 0.1 / Y.shape[1]  #",
            "G -= Y\n        G /= len(T)  # G = (Ŷ − Y)/n\n": (
                "G -= 0.9 * Y + 0.1 / Y.shape[1]\n        G /= len(T)\n"
            ),
        },
        f"{LOSS}::test_softmax_cross_entropy_is_minus_the_log_of_its_share",
    ),
    "softmax shifted by the batch's maximum": (
        "nn/losses.py",
        {"np.max(T.real, axis=1, keepdims=True, out=row)": "row[...] = T.real.max()"},
        f"{LOSS}::test_softmax_shifts_each_row_by_its_own_maximum",
    ),
    "a digit of GELU's constant missing": (
        "nn/activations.py",
        {"0.044715\n": "0.04715\n"},
        f"{ACTIVATION}::test_values",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_a_bug_of_loss_and_gradient_alike_is_noticed_by_name(name: str, tmp_path: Path) -> None:
    file, changes, test = SHARED[name]
    source = (ROOT / "mlpcli" / file).read_text()
    for old, new in changes.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    assert not Copy(tmp_path).passes(file, source, [test])
