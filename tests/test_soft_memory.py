"""Gradients through soft memory, against the closed form and where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from launching import read_json

from rnn_research.analysis.measures import soft_memory
from rnn_research.analysis.measures.soft_memory import SELECTIONS, SoftMemory

pytestmark = pytest.mark.usefixtures('strict_shapes')
N, D, STRENGTH = 6, 4, 3.0


@pytest.mark.parametrize('name', SELECTIONS)
def test_equals_the_closed_form(name):
  with jax.enable_x64(True):
    rng = np.random.default_rng(0)
    memory, query = SoftMemory(rng.normal(size=(N, D)), rng.normal(size=D)), rng.normal(size=D)
    found = soft_memory.reading(
      SELECTIONS[name], SoftMemory(*map(jnp.asarray, memory)), query, STRENGTH
    )
  m, u = memory
  logits = STRENGTH * m @ query
  if name == 'softmax':
    a = np.exp(logits) / np.exp(logits).sum()
    of_logits = a * ((m - a @ m) @ u)
  else:
    a = 1.0 / (1.0 + np.exp(-logits))
    of_logits = a * (1.0 - a) * (m @ u)
  np.testing.assert_allclose(found.weights, a, rtol=1e-12)
  np.testing.assert_allclose(found.read, a @ m, rtol=1e-12)
  expected = np.outer(a, u) + STRENGTH * np.outer(of_logits, query)
  np.testing.assert_allclose(found.gradient, expected, rtol=1e-10, atol=1e-13)


def test_a_sharp_softmax_starves_the_cells_that_gates_feed():
  memory = soft_memory.draw(jax.random.key(0), 64, 16)
  (weights, starved), (_, fed) = (
    soft_memory.shares(SELECTIONS[name], memory, 20.0) for name in ('softmax', 'gates')
  )
  assert (np.diff(weights) <= 0.0).all()
  np.testing.assert_allclose([starved.sum(), fed.sum()], 1.0, rtol=1e-5)
  assert starved[8:].sum() < 0.05 < 0.3 < fed[8:].sum()


def test_changes_of_a_softmax_come_at_once_where_the_cell_changes():
  # Two cells at right angles: the logits cross in the middle, at beta (2 t - 1).
  memory = SoftMemory(jnp.eye(2), jnp.array([0.6, 0.8]))
  found = soft_memory.shaking(SELECTIONS['softmax'], memory, 40.0, 22)
  assert found.read.argmax() == found.gradient.argmax() == 10
  assert found.read.max() > 0.5
  assert found.read[0] < 1e-6
  calm = soft_memory.shaking(SELECTIONS['softmax'], memory, 1e-3, 22)
  assert calm.read.max() < 1e-3


def test_the_variant_writes_its_report(main, tmp_path):
  code, _, err = main(
    '--experiment=gradient_flow:debug', f'--workdir={tmp_path}', '--config.subject=memory'
  )
  assert (code, err) == (0, '')
  report = tmp_path / 'report'
  assert {path.name for path in report.iterdir()} == {
    'README.md',
    *(f'memory_{name}.{kind}' for name in ('reach', 'shaking') for kind in ('png', 'csv')),
  }
  metrics = read_json(tmp_path, 'result.json')['metrics']
  assert metrics.keys() == {f'{name}, strength {s}' for name in SELECTIONS for s in (1, 5, 20)}
  assert {'gradient_reaching_them', 'largest_change_of_the_gradient'} <= metrics[
    'softmax, strength 5'
  ].keys()


@pytest.mark.parametrize(
  ('flag', 'said'),
  [
    ('subject=memroy', "subject is 'memroy', expected one of cells, memory, did you mean memory?"),
    ('workdir_of=runs/a', "workdir_of is 'runs/a', expected '' where subject is memory"),
    ('memory.cells=1', 'memory.cells is 1, expected an integer >= 2'),
    ('memory.strengths=()', 'memory.strengths is (), expected numbers in (0, 1e6)'),
  ],
)
def test_what_is_refused(main, tmp_path, flag, said):
  code, _, err = main(
    '--experiment=gradient_flow:memory', f'--workdir={tmp_path / "run"}', f'--config.{flag}'
  )
  assert (code, err.count('\n')) == (1, 1)
  assert said in err
