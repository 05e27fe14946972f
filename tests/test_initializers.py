"""Initialisers: the property each is named after, and the names that a config writes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research import initializers
from rnn_research.errors import InputError

pytestmark = pytest.mark.usefixtures('strict_shapes')

KEY = jax.random.key(3)


def spectral_radius_of(w):
  return np.abs(np.linalg.eigvals(np.asarray(w, np.float64))).max()


@pytest.mark.parametrize('radius', [0.5, 1.0, 1.4])
@pytest.mark.parametrize('size', [1, 2, 5, 64])
def test_the_largest_eigenvalue_is_the_radius(size, radius):
  init = jax.jit(initializers.spectral_radius(radius), static_argnums=1)
  # Among them are matrices with a leading complex pair and with a real one.
  for key in jax.random.split(KEY, 10):
    w = init(key, (size, size))
    np.testing.assert_allclose(spectral_radius_of(w), radius, rtol=3e-5)
  assert w.dtype == jnp.float32


def test_a_matrix_far_from_normal_is_rescaled_too():
  # Its norm says nothing of its eigenvalues.
  w = np.triu(np.full((6, 6), 50.0), 1) + np.diag(np.linspace(0.1, 0.7, 6))
  with jax.enable_x64(True):
    log_radius = initializers._log_spectral_radius(jnp.asarray(w))
  np.testing.assert_allclose(np.exp(log_radius), 0.7, rtol=3e-5)


def test_spectral_radius_under_vmap_and_without_values():
  init = lambda key: initializers.spectral_radius(0.9)(key, (7, 7), jnp.float32)
  keys = jax.random.split(KEY, 4)
  many = jax.vmap(init)(keys)
  np.testing.assert_allclose(many, np.stack([init(key) for key in keys]), rtol=1e-4, atol=1e-6)
  assert jax.eval_shape(init, KEY) == jax.ShapeDtypeStruct((7, 7), jnp.float32)
  assert initializers.spectral_radius(0.9)(KEY, (7, 7), jnp.bfloat16).dtype == jnp.bfloat16


def test_spectral_radius_is_drawn_from_normal_numbers():
  w = np.asarray(initializers.spectral_radius(1.0)(KEY, (100, 100)))
  standardised = (w - w.mean()) / w.std()
  assert abs(w.mean()) < 4.0 * w.std() / 100.0
  np.testing.assert_allclose((standardised**4).mean(), 3.0, rtol=0.1)
  assert np.abs(w - w.T).max() > w.std()  # not symmetric


@pytest.mark.parametrize('shape', [(3, 4), (5,), (2, 3, 3)])
def test_spectral_radius_needs_a_square_matrix(shape):
  with pytest.raises(ValueError, match='expected a square matrix'):
    initializers.spectral_radius(0.9)(KEY, shape)


NAMED = {  # text -> what holds for a matrix [30, 30], or [30, 60] where the two sizes count
  'glorot_uniform': lambda w: 0.9 < np.abs(w).max() / np.sqrt(6.0 / 90.0) <= 1.0,
  'identity': lambda w: (w == np.eye(30)).all(),
  'lecun_normal': lambda w: 0.9 < w.std() * np.sqrt(30.0) < 1.1,
  'normal:0.001': lambda w: 0.9 < w.std() / 0.001 < 1.1 and np.abs(w).max() > 0.0025,
  'orthogonal': lambda w: np.allclose(w @ w.T, np.eye(30), atol=1e-5),
  'orthogonal:1.2': lambda w: np.allclose(w @ w.T, 1.44 * np.eye(30), atol=1e-5),
  'spectral_radius:0.9': lambda w: np.isclose(spectral_radius_of(w), 0.9, rtol=3e-5),
  'uniform:8e-2': lambda w: 0.9 < np.abs(w).max() / 0.08 <= 1.0,
}


@pytest.mark.parametrize('text', NAMED)
def test_names_give_what_they_say(text):
  w = initializers.named(text)(
    KEY, (30, 60 if text in ('glorot_uniform', 'lecun_normal') else 30), jnp.float32
  )
  assert w.dtype == jnp.float32
  assert NAMED[text](np.asarray(w))


@pytest.mark.parametrize(
  ('text', 'hint'),
  [
    ('ortogonal', 'orthogonal'),
    ('ortogonal:2', 'orthogonal:NUMBER'),
    ('normal', 'normal:NUMBER'),
    ('normal:', 'normal:NUMBER'),
    ('uniform:a', 'uniform:NUMBER'),
    ('uniform:-0.1', 'uniform:NUMBER'),
    ('spectral_radius:0', 'spectral_radius:NUMBER'),
    ('orthogonal:nan', 'orthogonal:NUMBER'),
    ('orthogonal:inf', 'orthogonal:NUMBER'),
    ('identity:', 'identity'),
    ('identity:2', 'identity'),
    ('', None),
    ('zebra', None),
  ],
)
def test_other_names_are_refused_in_one_sentence(text, hint):
  with pytest.raises(InputError) as caught:
    initializers.named(text)
  said = str(caught.value)
  assert said.startswith(
    f'unknown initialiser {text!r}' + (f', did you mean {hint}?' if hint else ' (')
  )
  assert (
    said.endswith('spectral_radius:NUMBER, uniform:NUMBER, with a number above 0)')
    and '\n' not in said
  )
