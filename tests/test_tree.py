"""Cells made from trees, against a recursive oracle; descriptions that make no tree; the searched cell's size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells_under_test import BASE_2, BATCH, HIDDEN, NUM_INPUTS, inputs, noisy, perturbed

from rnn_research import lstm, unroll
from rnn_research.cells.nas import NAS, nas
from rnn_research.cells.tree import ACTIVATIONS, COMBINATIONS, Tree, tree_cell

pytestmark = pytest.mark.usefixtures('strict_shapes')

PHI = {
  'identity': lambda a: a,
  'relu': lambda a: np.maximum(a, 0.0),
  'sigmoid': lambda a: 1.0 / (1.0 + np.exp(-a)),
  'tanh': np.tanh,
}
OP = {'add': lambda a, b: a + b, 'multiply': lambda a, b: a * b}


def random_tree(num_leaves, seed):
  """Returns a tree whose choices are all random; it may inject at the root, or read where it injects."""
  rng = np.random.default_rng(seed)
  choose = lambda: (str(rng.choice(list(COMBINATIONS))), str(rng.choice(list(ACTIVATIONS))))
  count = 2 * num_leaves - 1
  return Tree(
    tuple(choose() for _ in range(count)),
    choose(),
    int(rng.integers(count)),
    int(rng.integers(count)),
  )


def by_recursion(tree, w_x, w_h, x, c, h):
  """Returns (c_t, h_t) from the root downwards, one product per leaf."""
  levels = [list(range((len(tree.nodes) + 1) // 2))]
  while len(levels[-1]) > 1:
    first = levels[-1][-1] + 1
    levels.append(list(range(first, first + len(levels[-1]) // 2)))

  def before_activation(level, place):
    index = levels[level][place]
    if level == 0:
      columns = slice(index * HIDDEN, (index + 1) * HIDDEN)
      left, right = x @ w_x[:, columns], h @ w_h[:, columns]
    else:
      left, right = value(level - 1, 2 * place), value(level - 1, 2 * place + 1)
    return OP[tree.nodes[index][0]](left, right)

  def value(level, place):
    index = levels[level][place]
    a = PHI[tree.nodes[index][1]](before_activation(level, place))
    return PHI[tree.inject[1]](OP[tree.inject[0]](a, c)) if index == tree.inject_at else a

  read_at = next(
    (level, row.index(tree.read_at)) for level, row in enumerate(levels) if tree.read_at in row
  )
  return before_activation(*read_at), value(len(levels) - 1, 0)


TREES = {
  f'{n} leaves, seed {seed}': random_tree(n, seed)
  for n, seeds in ((2, 3), (4, 8), (8, 8), (16, 1))
  for seed in range(seeds)
} | {'nas': NAS, 'base 2': BASE_2}


@pytest.mark.parametrize('name', TREES)
def test_a_step_equals_the_recursive_one(name):
  tree = TREES[name]
  with jax.enable_x64(True):
    cell = tree_cell(HIDDEN, tree, dtype=jnp.float64)
    params = jax.tree.map(lambda a: a.astype(jnp.float64), perturbed(cell))
    state = noisy(cell.initial_state(params, BATCH), 3, 0.5)
    end, ys = unroll(cell, params, inputs(1), state)
  expected = by_recursion(
    tree, *map(np.asarray, (params.w_x, params.w_h, inputs()[0], state.c, state.h))
  )
  for got, value in zip((*end, ys[0]), (*expected, expected[1]), strict=True):
    np.testing.assert_allclose(got, value, rtol=1e-11, atol=1e-13)


def test_random_trees_cover_the_choices():
  trees = list(TREES.values())
  assert {choice for tree in trees for choice in tree.nodes} == {
    (op, phi) for op in OP for phi in PHI
  }
  assert {tree.inject[0] for tree in trees} == set(OP) and {
    tree.inject[1] for tree in trees
  } == set(PHI)
  root = lambda tree: len(tree.nodes) - 1
  assert any(tree.inject_at == root(tree) for tree in trees) and any(
    tree.read_at == root(tree) for tree in trees
  )


def test_leaves_have_matrices_of_their_own():
  x = jnp.ones((BATCH, NUM_INPUTS))
  w_h = np.asarray(nas(HIDDEN).init(jax.random.key(0), x).w_h)
  blocks = np.split(w_h, 8, 1)
  assert all(np.allclose(block @ block.T, np.eye(HIDDEN), atol=1e-5) for block in blocks)
  assert np.abs(blocks[0] - blocks[1]).max() > 0.1


def test_the_searched_cell_has_twice_the_weights_of_an_lstm():
  size = lambda cell: sum(a.size for a in jax.tree.leaves(perturbed(cell)))
  assert (
    size(nas(HIDDEN)) == 8 * HIDDEN * (NUM_INPUTS + HIDDEN) == 2 * (size(lstm(HIDDEN)) - 4 * HIDDEN)
  )


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'nodes': BASE_2.nodes[:2]}, 'a tree has 2 nodes, expected 2 L - 1'),
    ({'nodes': BASE_2.nodes[:1]}, 'a tree has 1 nodes'),
    ({'nodes': ()}, 'a tree has 0 nodes'),
    ({'nodes': 5 * (('add', 'tanh'),)}, 'a tree has 5 nodes'),
    (
      {'nodes': (('add', 'tanh'), ('divide', 'relu'), ('add', 'relu'))},
      "node 1 combines by 'divide', expected .*add",
    ),
    (
      {'nodes': (('add', 'tanh'), ('add', 'gelu'), ('add', 'relu'))},
      "node 1 has the activation 'gelu', .*identity",
    ),
    ({'inject': ('max', 'tanh')}, "inject combines by 'max'"),
    ({'inject': ('add', 'sin')}, "inject has the activation 'sin'"),
    ({'inject_at': 3}, 'inject_at is 3, expected the index of one of the 3 nodes'),
    ({'inject_at': -1}, 'inject_at is -1'),
    ({'read_at': 3}, 'read_at is 3'),
  ],
)
def test_descriptions_that_make_no_tree_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    tree_cell(HIDDEN, BASE_2._replace(**change))
