"""Recurrent cells described by a tree, the search space of neural architecture search."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn.initializers import lecun_normal, orthogonal

from rnn_research.cell import Cell
from rnn_research.errors import require_size
from rnn_research.layers import input_product, matmul, sigmoid
from rnn_research.typing import Array

COMBINATIONS = {'add': jnp.add, 'multiply': jnp.multiply}
ACTIVATIONS = {'identity': lambda a: a, 'relu': jax.nn.relu, 'sigmoid': sigmoid, 'tanh': jnp.tanh}


class Tree(NamedTuple):
  """A complete binary tree of L leaves, the paper's base. See `tree_cell`.

  Attributes:
    nodes: (combination, activation) of each of the 2L - 1 nodes, level by level: leaves 0..L-1,
      then node L + j whose children are the nodes 2j and 2j + 1, up to the root 2L - 2.
    inject: (combination, activation) by which c_{t-1} enters.
    inject_at: index of the node whose value it enters.
    read_at: index of the node that c_t is read from.
  """

  nodes: tuple[tuple[str, str], ...]
  inject: tuple[str, str]
  inject_at: int
  read_at: int


class TreeParams(NamedTuple):
  """Parameters of `tree_cell`."""

  w_x: Any  # [F, L H] float32, leaf by leaf
  w_h: Any  # [H, L H] float32


class TreeState(NamedTuple):
  """State of `tree_cell`."""

  c: Array  # [B, H] float32
  h: Array  # [B, H] float32


def tree_cell(
  hidden_size: int,
  tree: Tree,
  *,
  w_x_init: Callable = lecun_normal(),
  w_h_init: Callable = orthogonal(),
  dtype=jnp.float32,
) -> Cell:
  """Makes the cell that a tree describes.

    s_i = x_t W_i <op_i> h_{t-1} U_i,    a_i = phi_i(s_i)     leaves, i < L, matrices of their own
    s_i = a_l <op_i> a_r,                a_i = phi_i(s_i)     nodes with children l and r
    a_i <- phi'(a_i <op'> c_{t-1})                       at i = inject_at, before its parent reads
    c_t = s_i at i = read_at,    h_t = a_{2L-2} (the root),    y_t = h_t

  c_t is the value before the activation, so it is bounded only where the tree bounds it. No biases.

  Args:
    hidden_size: H.
    tree: of L = 2, 4, 8, ... leaves.
    w_x_init: initialiser of [F, L H].
    w_h_init: initialiser of one leaf's [H, H].
    dtype: precision of the products; parameters and state are float32.

  Returns:
    A cell over inputs [B, F] with outputs [B, H] of `dtype`, and L H (F + H) parameters.

  Raises:
    ValueError: the number of nodes is not that of a complete tree, an index lies outside of it, or
      a combination or an activation is unknown.

  Source: Zoph and Le 2017 (arXiv 1611.01578). Deviates from the paper: nothing.
  """
  require_size('hidden_size', hidden_size)
  _check(tree)
  num_leaves = (len(tree.nodes) + 1) // 2

  def init(key, x, ctx=None):
    key_x, key_h = jax.random.split(key)
    blocks = [
      w_h_init(k, (hidden_size, hidden_size), jnp.float32)
      for k in jax.random.split(key_h, num_leaves)
    ]
    return TreeParams(
      w_x=w_x_init(key_x, (x.shape[-1], num_leaves * hidden_size), jnp.float32),
      w_h=jnp.concatenate(blocks, 1),
    )

  def initial_state(params, batch_size):
    def zeros():
      return jnp.zeros((batch_size, hidden_size), jax.tree.leaves(params)[0].dtype)

    return TreeState(c=zeros(), h=zeros())

  def project(params, xs):
    return input_product(xs, params.w_x, dtype=dtype)

  def step(params, state, u, *, key=None, ctx=None):
    products = (jnp.split(a, num_leaves, -1) for a in (u, matmul(state.h, params.w_h, dtype)))
    state = TreeState(*_evaluate(tree, zip(*products, strict=True), state.c))
    return state, state.h.astype(dtype)

  return Cell(init, initial_state, project, step)


def _evaluate(tree, leaves, c):
  """Returns c_t and h_t from the operands of every leaf and c_{t-1}."""
  operands, values = list(leaves), []
  for i, (combination, activation) in enumerate(tree.nodes):
    combined = COMBINATIONS[combination](*operands[i])
    value = ACTIVATIONS[activation](combined)
    if i == tree.inject_at:
      combination, activation = tree.inject
      value = ACTIVATIONS[activation](COMBINATIONS[combination](value, c))
    values.append(value)
    if i == tree.read_at:
      new_c = combined
    if i % 2:  # a right child: the operands of the next node that has none are known
      operands.append((values[i - 1], value))
  return new_c, value


def _check(tree):
  count = len(tree.nodes)
  if count < 3 or count & (count + 1):
    raise ValueError(f'a tree has {count} nodes, expected 2 L - 1 for L = 2, 4, 8, ... leaves')
  choices = {f'node {i}': node for i, node in enumerate(tree.nodes)} | {'inject': tree.inject}
  for where, (combination, activation) in choices.items():
    if combination not in COMBINATIONS:
      raise ValueError(
        f'{where} combines by {combination!r}, expected one of {", ".join(COMBINATIONS)}'
      )
    if activation not in ACTIVATIONS:
      raise ValueError(
        f'{where} has the activation {activation!r}, expected one of {", ".join(ACTIVATIONS)}'
      )
  for name, index in (('inject_at', tree.inject_at), ('read_at', tree.read_at)):
    if not 0 <= index < count:
      raise ValueError(f'{name} is {index}, expected the index of one of the {count} nodes, from 0')
