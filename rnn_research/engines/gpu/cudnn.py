"""cuDNN's LSTM, through `jax.experimental.rnn`: the whole sequence and its gradient in one library
call each.

cuDNN holds the weights of a layer in one vector: W_x^T, W_h^T (gates i f g o, each [H, F] or [H,
H]), then two biases [4H], whose sum is ours. The second is zero here.
"""

import jax.numpy as jnp
from jax.experimental import rnn
from jax.experimental.layout import Layout, with_layout_constraint

from rnn_research.engines.gpu.device import compute_capability
from rnn_research.typing import Array


def unavailable(dtype=jnp.float32) -> str | None:
  """Returns the reason in one sentence why `cudnn_lstm` cannot be used, or None where it can.

  Args:
    dtype: precision of the products that the caller wants.
  """
  if compute_capability() is None:
    return 'cuDNN needs an NVIDIA GPU with the CUDA version of JAX'
  if jnp.dtype(dtype) != jnp.float32:
    return f'the cuDNN LSTM computes in float32, not in {jnp.dtype(dtype).name}'
  return None


def cudnn_lstm(
  xs: Array, w_x: Array, w_h: Array, b: Array, c: Array, h: Array
) -> tuple[tuple[Array, Array], Array]:
  """Runs an LSTM layer without peepholes or projection over all steps, with respect to every
  argument differentiable.

    i f g o = sigmoid sigmoid tanh sigmoid (x_t w_x + h_{t-1} w_h + b)
    c_t = f * c_{t-1} + i * g,    h_t = o * tanh(c_t)

  Products round their factors to TF32 unless `jax.default_matmul_precision` is 'highest', as JAX's
  own do on a GPU.

  Args:
    xs: [T, B, F] float32, inputs.
    w_x: [F, 4H] float32, gates in the order i f g o.
    w_h: [H, 4H] float32.
    b: [4H] float32.
    c: [B, H] float32, cell before the first step.
    h: [B, H] float32, output before the first step.

  Returns:
    (c, h) after the last step, and h of every step, [T, B, H] float32.

  Raises:
    NotImplementedError: `jax.default_matmul_precision` is 'bfloat16'.

  Source: `jax.experimental.rnn`; cuDNN's CUDNN_LSTM. Deviates: nothing.
  """
  num_steps, batch_size, num_inputs = xs.shape
  hidden_size = h.shape[-1]
  lengths = jnp.full(batch_size, num_steps, jnp.int32)
  x, h_0, c_0 = map(_row_major, (jnp.swapaxes(xs, 0, 1), h[None], c[None]))
  ends = rnn.lstm(  # no layers, dropout or second direction of its own: `unroll_layers` has them
    x, h_0, c_0, pack(w_x, w_h, b), lengths, num_inputs, hidden_size, 1, 0.0, False
  )
  ys, h_end, c_end = map(_row_major, ends)
  return (c_end[0], h_end[0]), jnp.swapaxes(ys, 0, 1)


def _row_major(a):
  """Keeps XLA from a transposed layout: the call takes any, reads all as row-major, and so returned
  wrong numbers."""
  return with_layout_constraint(a, Layout(tuple(range(a.ndim))))


def pack(w_x: Array, w_h: Array, b: Array) -> Array:
  """Returns cuDNN's vector of weights, [4H (F + H + 2)] float32; arguments as in `cudnn_lstm`."""
  return jnp.concatenate([w_x.T.ravel(), w_h.T.ravel(), b, jnp.zeros_like(b)])
