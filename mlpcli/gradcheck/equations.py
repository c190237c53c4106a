"""The note, equation by equation: what it says, what is true, the line of code, and the test.

The note: Zhe Li, "Deep Learning BackPropagation – Gradient of Sigmoid Cross Entropy", 20 May 2018.
A test compares this list with the code: each line is found once in its function, each test exists.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path

RIGHT, MISSING = "right", "missing in the note"


@dataclass(frozen=True)
class Equation:
    """One equation of the note, or one that it lacks."""

    place: str  # where it stands in the note
    note: str  # what the note says
    verdict: str
    truth: str
    code: str  # module:function under mlpcli
    line: str  # the line of that function which computes it
    test: str  # file::test under tests/

    def location(self) -> tuple[str, int]:
        """Return the file and the number of the line that computes this equation.

        Raises LookupError where the function or the line does not exist, or stands there twice.
        """
        module_name, _, qualified = self.code.partition(":")
        module = importlib.import_module(f"mlpcli.{module_name}")
        function: object = module
        for part in qualified.split("."):
            if not hasattr(function, part):
                raise LookupError(f"{self.place}: {self.code} does not exist")
            function = getattr(function, part)
        lines, first = inspect.getsourcelines(function)  # type: ignore[arg-type]
        found = [i for i, line in enumerate(lines) if line.strip().startswith(self.line)]
        if len(found) != 1:
            raise LookupError(f"{self.place}: {self.line!r} stands {len(found)} times")
        path = Path(str(module.__file__))
        return f"mlpcli/{path.relative_to(Path(__file__).parent.parent)}", first + found[0]


_NOTE_FORMULAS = "nn/test_network.py::test_the_notes_single_example_formulas"
_ALL_GRADIENTS = "nn/test_network.py::test_every_gradient_agrees_with_the_complex_step"
_LOGISTIC = "nn/test_note.py::test_equations_2_and_8_with_their_biases"
_BATCH = "nn/test_note.py::test_a_batch_gradient_is_the_mean_of_single_ones"
_SIGN = "nn/test_network.py::test_the_notes_sign_climbs_the_loss"

EQUATIONS = (
    Equation(
        "(1)",
        "L = ½ Σ ‖ŷ − y‖²",
        RIGHT,
        "a sum over examples; here their mean, L = (1/n) Σ ½‖ŷ − y‖²",
        "nn.losses:SquaredError.forward",
        "return (0.5 * A.sum() / n).item()",
        "nn/test_losses.py::test_squared_error_is_equation_1",
    ),
    Equation(
        "(2)",
        "dW = Σ (ŷ − y) ŷ(1 − ŷ) x",
        RIGHT,
        "G = (Ŷ − Y) ∘ Ŷ ∘ (1 − Ŷ)/n,  dW = Xᵀ G",
        "nn.losses:SquaredError.backward",
        "G *= A",
        _LOGISTIC,
    ),
    Equation(
        "after (2)",
        '"The gradient of L w.r.t" breaks off',
        MISSING,
        "db = Σ (ŷ − y) ŷ(1 − ŷ)",
        "nn.layers:Dense.backward",
        "np.sum(G, axis=0, out=self.db)",
        _LOGISTIC,
    ),
    Equation(
        "(3)",
        "L = Σ −y log σ(z) − (1 − y) log(1 − σ(z))",
        RIGHT,
        "the same, from the logit: |t|/2 + t(½ − y) + log(1 + e^−|t|)",
        "nn.losses:SigmoidCrossEntropy.forward",
        "return (A.sum() / n).item()",
        "nn/test_losses.py::test_sigmoid_cross_entropy_is_equation_3",
    ),
    Equation(
        "(4), (6)",
        "dW = Σ −y/σ ∂σ/∂W − (1 − y)/(1 − σ) ∂(1 − σ)/∂W",
        RIGHT,
        "the chain rule on (3); (6) repeats (4). By (5) both become (8)",
        "nn.losses:SigmoidCrossEntropy.backward",
        "G -= Y",
        "nn/test_note.py::test_equations_4_to_8_are_one",
    ),
    Equation(
        "(5)",
        "∂σ/∂W = σ(1 − σ) x",
        RIGHT,
        "σ′ = σ(1 − σ)",
        "nn.activations:Sigmoid._backward",
        "T *= Z",
        "nn/test_note.py::test_equations_4_to_8_are_one",
    ),
    Equation(
        "(7)",
        "dW = Σ −y(1 − σ) x + (1 − y) σ x",
        RIGHT,
        "its terms −yσ and +yσ cancel: (8)",
        "nn.losses:SigmoidCrossEntropy.backward",
        "G -= Y",
        "nn/test_note.py::test_equations_4_to_8_are_one",
    ),
    Equation(
        "(8)",
        "dW = Σ (ŷ − y) x",
        RIGHT,
        "G = (Ŷ − Y)/n,  dW = Xᵀ G",
        "nn.losses:SigmoidCrossEntropy.backward",
        "G /= len(T)",
        _LOGISTIC,
    ),
    Equation(
        "after (8)",
        "no bias gradient",
        MISSING,
        "db = Σ (ŷ − y)",
        "nn.layers:Dense.backward",
        "np.sum(G, axis=0, out=self.db)",
        _LOGISTIC,
    ),
    Equation(
        "§2, t₁",
        't₁ = X W¹ + b¹, under the title "Two hidden layers"',
        RIGHT,
        "one hidden layer, two layers of weights",
        "nn.layers:Dense.forward",
        "T += self.b",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§2, z₁",
        "z₁ = σ(t₁)",
        RIGHT,
        "σ(t) = ½ tanh(½t) + ½, which never overflows",
        "nn.activations:sigmoid",
        "np.tanh(out, out=out)",
        "nn/test_activations.py::test_values",
    ),
    Equation(
        "§2, ŷ",
        "ŷ = z₁W² + b²",
        "wrong: σ is missing",
        "ŷ = σ(z₁W² + b²): without σ the logarithms are undefined",
        "nn.losses:SigmoidCrossEntropy.probs",
        "return sigmoid(T, out=self._G[: len(T)])",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§2, L",
        "L = Σ over classes of −y log ŷ − (1 − y) log(1 − ŷ)",
        RIGHT,
        "summed over classes; over a batch, the mean",
        "nn.losses:SigmoidCrossEntropy.forward",
        "return (A.sum() / n).item()",
        "nn/test_losses.py::test_a_batch_is_the_mean_of_its_examples",
    ),
    Equation(
        "§2, ŷᵢ",
        "ŷᵢ = σ(z₁ · wᵢ)",
        "wrong: the bias is dropped",
        "ŷᵢ = σ(z₁ · wᵢ + b²ᵢ)",
        "nn.layers:Dense.forward",
        "T += self.b",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§2, dW²",
        "columns (yᵢ − ŷᵢ) z₁ᵀ",
        "wrong: the sign, against (8)",
        "dW² = z₁ᵀ (ŷ − y)",
        "nn.layers:Dense.backward",
        "np.dot(self.X.T, G, out=self.dW)",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§2, db²",
        "db² = y − ŷ",
        "wrong: the sign",
        "db² = ŷ − y",
        "nn.layers:Dense.backward",
        "np.sum(G, axis=0, out=self.db)",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§2.1, Z",
        "Z has the columns 0 … 512",
        "wrong: one too many",
        "512 columns, 0 … 511",
        "nn.activations:Activation.forward",
        "self.T, self.Z = T, self._buffer[: len(T)]",
        "nn/test_note.py::test_the_notes_shapes",
    ),
    Equation(
        "(9)",
        "dW² = Zᵀ(Y − Ŷ)",
        "wrong: the sign",
        "dW² = Zᵀ G,  G = (Ŷ − Y)/n; the note's is a sum over the batch",
        "nn.layers:Dense.backward",
        "np.dot(self.X.T, G, out=self.dW)",
        _SIGN,
    ),
    Equation(
        "after (9)",
        "no db² of a batch",
        MISSING,
        "db² = Σ_rows (Ŷ − Y)/n",
        "nn.layers:Dense.backward",
        "np.sum(G, axis=0, out=self.db)",
        _BATCH,
    ),
    Equation(
        "§3, (10)",
        't₁,₀ = x W₀¹ + b₀; the text before it calls the first column "W₁¹"',
        "right, but for the index: W₀¹",
        "t₁,₀ = x W₀¹ + b₀¹",
        "nn.layers:Dense.forward",
        "np.dot(X, self.W, out=T)",
        _NOTE_FORMULAS,
    ),
    Equation(
        "§3, L₀",
        "L₀ = −yᵢ log ŷ₀ − (1 − y₀) log(1 − ŷ₀)",
        "wrong: the index",
        "L₀ = −y₀ log ŷ₀ − (1 − y₀) log(1 − ŷ₀)",
        "nn.losses:SigmoidCrossEntropy.forward",
        "return (A.sum() / n).item()",
        "nn/test_losses.py::test_sigmoid_cross_entropy_is_equation_3",
    ),
    Equation(
        "§3, ∂L₀/∂W₀¹",
        "(y₀ − ŷ₀) ∂t₂,₀/∂z₀ ∂z₀/∂t₁,₀ ∂t₁,₀/∂W₀¹, δ₀ = σ(t₁,₀)(1 − σ(t₁,₀))",
        "wrong: the sign",
        "(ŷ₀ − y₀) W²₀,₀ σ′(t₁,₀) x; δ₀ is σ′, not an error sent back",
        "nn.activations:Sigmoid._backward",
        "G *= T",
        "nn/test_note.py::test_the_notes_column_of_dW1",
    ),
    Equation(
        "§3, ∂L/∂W₀¹",
        "[y − ŷ][W²₀,₀ … W²₀,₉]ᵀ ∘ δ₀",
        "wrong: the sign, and x is missing",
        "xᵀ · ((ŷ − y) · W²[0,:]ᵀ) · δ₀, 3072×1",
        "nn.layers:Dense.backward",
        "return np.dot(G, self.W.T, out=self._dX[: len(G)])",
        "nn/test_note.py::test_the_notes_column_of_dW1",
    ),
    Equation(
        "§3, ∂L/∂W¹",
        "x [y − ŷ] W²ᵀ ∘ δ",
        "wrong: the sign, and for a batch the brackets",
        "dW¹ = Xᵀ G1,  G1 = (G2 W²ᵀ) ∘ Z ∘ (1 − Z)",
        "nn.layers:Dense.backward",
        "np.dot(self.X.T, G, out=self.dW)",
        _ALL_GRADIENTS,
    ),
    Equation(
        "§3, shapes",
        "W² ∈ ℝ^{10×512}",
        "wrong: that is (W²)ᵀ",
        "W² ∈ ℝ^{512×10}",
        "nn.layers:Dense.backward",
        "return np.dot(G, self.W.T, out=self._dX[: len(G)])",
        "nn/test_note.py::test_the_notes_shapes",
    ),
    Equation(
        "nowhere, dW¹ of a batch",
        "—",
        MISSING,
        "dW¹ = Xᵀ G1, the mean over the batch being in G2",
        "nn.layers:Dense.backward",
        "np.dot(self.X.T, G, out=self.dW)",
        _BATCH,
    ),
    Equation(
        "nowhere, db¹",
        'b₀ is dropped "for simplicity"',
        MISSING,
        "db¹ = Σ_rows G1",
        "nn.layers:Dense.backward",
        "np.sum(G, axis=0, out=self.db)",
        _BATCH,
    ),
    Equation(
        "nowhere, the mean",
        "—",
        MISSING,
        "G2 = (Ŷ − Y)/n: the step does not grow with the batch",
        "nn.losses:SigmoidCrossEntropy.backward",
        "G /= len(T)",
        _BATCH,
    ),
)
