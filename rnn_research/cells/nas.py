"""The cell that neural architecture search found."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.cells.tree import Tree, tree_cell

NAS = Tree(
  nodes=(
    ('add', 'sigmoid'),
    ('add', 'relu'),
    ('add', 'sigmoid'),
    ('multiply', 'relu'),
    ('add', 'tanh'),
    ('add', 'sigmoid'),
    ('add', 'tanh'),
    ('add', 'sigmoid'),
    ('multiply', 'tanh'),
    ('add', 'tanh'),
    ('multiply', 'tanh'),
    ('add', 'sigmoid'),
    ('multiply', 'identity'),
    ('add', 'tanh'),
    ('multiply', 'tanh'),
  ),
  inject=('add', 'tanh'),
  inject_at=8,
  read_at=12,
)


def nas(
  hidden_size: int,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """The NAS cell, a tree of eight leaves. With a_k = x_t W_k and u_k = h_{t-1} U_k for k = 0..7:

    l_0 = sigmoid(a_0 + u_0),    l_1 = relu(a_1 + u_1)
    l_2 = sigmoid(a_2 + u_2),    l_3 = relu(a_3 * u_3)
    l_4 = tanh(a_4 + u_4),       l_5 = sigmoid(a_5 + u_5)
    l_6 = tanh(a_6 + u_6),       l_7 = sigmoid(a_7 + u_7)
    m_0 = tanh(tanh(l_0 * l_1) + c_{t-1}),    m_1 = tanh(l_2 + l_3)
    m_2 = tanh(l_4 * l_5),                    m_3 = sigmoid(l_6 + l_7)
    c_t = m_0 * m_1,    h_t = tanh(c_t * tanh(m_2 + m_3)),    y_t = h_t

  It has 8 H (F + H) parameters, twice those of an LSTM: match sizes before comparing.

  Args:
    hidden_size: H.
    w_x_init: initialiser of [F, 8H].
    w_h_init: initialiser of one leaf's [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`.

  Source: Zoph and Le 2017 (arXiv 1611.01578); TensorFlow's NASCell. Deviates from the paper:
  nothing. Deviates from NASCell: there is no bias at all, which that code leaves out by default.
  """
  return tree_cell(hidden_size, NAS, w_x_init=w_x_init, w_h_init=w_h_init, dtype=dtype)
