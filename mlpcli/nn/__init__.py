"""The mathematics, in NumPy and nothing else.

Letters, as in Zhe Li's note on the gradient of sigmoid cross-entropy (2018), one example per row:

    B  examples in a batch      X  inputs (B, D)          W, b    a layer's weights and biases
    D  inputs of a layer        T  pre-activations        dW, db  the loss's gradient by them
    H  hidden units             Z  activations (B, H)     G       dL/dT of the layer at hand
    K  classes                  Y  targets (B, K)         Ŷ       predictions (B, K)

Every operation is analytic (branches look at the real part alone), so one forward pass serves
training in float32, checking in float64 and the complex step in complex128. Buffers are made once
for `batch_size` examples; a shorter batch uses their first rows.
"""
