"""Windows of filters on an image: laws, and twins in float64 that loop over pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnn_research.encoders import glimpse
from rnn_research.errors import InputError

pytestmark = pytest.mark.usefixtures('strict_shapes')
HEIGHT, WIDTH, COUNT = 9, 12, 4


def where(x, y, stride, variance=0.5, gamma=1.0):
  numbers = (x, y, stride, np.log(variance), np.log(gamma))
  return glimpse.Place(*(jnp.asarray([number], jnp.float32) for number in numbers))


@functools.partial(jax.jit, static_argnames='count')
def window_of(place, count=COUNT):
  return glimpse.gaussian_window(place, HEIGHT, WIDTH, count)


@pytest.fixture
def image():
  return jnp.asarray(np.random.default_rng(0).random((1, HEIGHT, WIDTH, 2), np.float32))


PLACES = [
  where(5.5, 4.0, 1.0),
  where(3.0, 2.5, 2.7, 2.0, 3.0),
  where(-40.0, 900.0, 0.3, 1e-4, 0.2),  # outside: a quotient of sums would be 0 / 0
]


@pytest.mark.parametrize('place', PLACES)
def test_rows_sum_to_one_everywhere(place):
  window = window_of(place)
  np.testing.assert_allclose(window.rows.sum(-1), 1, atol=1e-6)
  np.testing.assert_allclose(window.columns.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize('stride', [0.5, 1.0, 1.75])
@pytest.mark.parametrize('count', [3, 4])
def test_a_window_is_symmetric_about_its_middle(stride, count):
  middle = (WIDTH - 1) / 2
  columns = window_of(where(middle, 4.0, stride, 0.6), count).columns[0]
  np.testing.assert_allclose(columns, columns[::-1, ::-1], atol=1e-6)
  centres = columns @ np.arange(WIDTH)
  steps = (np.arange(count) - (count - 1) / 2) * stride
  np.testing.assert_allclose(centres, middle + steps, atol=1e-3)


def test_filters_equal_their_equation(image):
  place = where(4.2, 3.1, 1.3, 0.8, 1.7)
  window = window_of(place)
  expected = np.zeros((COUNT, WIDTH))
  for i in range(COUNT):
    mu = 4.2 + (i - (COUNT - 1) / 2) * 1.3
    expected[i] = [np.exp(-((a - mu) ** 2) / (2 * 0.8)) for a in range(WIDTH)]
    expected[i] /= expected[i].sum()
  np.testing.assert_allclose(window.columns[0], expected, atol=1e-6)
  patch = 1.7 * np.einsum('ih,hwc,jw->ijc', window.rows[0], image[0], expected)
  np.testing.assert_allclose(glimpse.read(window, image)[0], patch, rtol=1e-5)


def test_stride_one_and_a_small_variance_show_the_patch_itself(image):
  window = window_of(where(5.5, 3.5, 1.0, 0.01))
  np.testing.assert_allclose(glimpse.read(window, image), image[:, 2:6, 4:8], atol=1e-5)


@pytest.mark.parametrize('place', PLACES)
def test_writing_is_the_transpose_of_reading(image, place):
  window = window_of(place)
  patch = jnp.asarray(np.random.default_rng(1).normal(size=(1, COUNT, COUNT, 2)), jnp.float32)
  read, written = glimpse.read(window, image), glimpse.write(window, patch)
  assert written.shape == image.shape
  gamma = float(window.gamma[0])
  np.testing.assert_allclose((read * patch).sum(), gamma**2 * (image * written).sum(), rtol=1e-4)


def test_zeros_place_a_window_over_the_whole_image():
  place = glimpse.place(jnp.zeros((1, 5)), HEIGHT, WIDTH, COUNT)
  assert (float(place.x[0]), float(place.y[0])) == ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
  assert float(place.stride[0]) == pytest.approx((WIDTH - 1) / (COUNT - 1))
  moved = glimpse.place(jnp.asarray([[0.5, -0.5, 1.0, np.log(2), 3.0]]), HEIGHT, WIDTH, COUNT)
  assert float(moved.x[0]) == pytest.approx(13 / 2 * 1.5 - 1)
  assert float(moved.y[0]) == pytest.approx(10 / 2 * 0.5 - 1)
  assert float(moved.stride[0]) == pytest.approx(2 * 11 / 3)
  assert (float(moved.log_variance[0]), float(moved.log_gamma[0])) == (1.0, 3.0)


@pytest.mark.parametrize('place', PLACES)
def test_gradients_of_a_window_are_finite_and_reach_its_place(image, place):
  total = lambda place: (glimpse.read(window_of(place), image) ** 2).sum()
  grads = jax.jit(jax.grad(total))(place)
  assert all(bool(jnp.isfinite(grad).all()) for grad in grads)
  assert abs(float(grads.log_gamma[0])) > 0


@pytest.mark.parametrize('extreme', [-1e4, 1e4, -1e37, 1e37])
def test_numbers_of_any_size_give_a_window_with_gradients(image, extreme):
  def total(raw):
    window = glimpse.gaussian_window(glimpse.place(raw, HEIGHT, WIDTH, COUNT), HEIGHT, WIDTH, COUNT)
    return (glimpse.read(window, image) ** 2).sum() + glimpse.write(
      window, jnp.ones((1, 4, 4, 1))
    ).sum()

  value, grad = jax.jit(jax.value_and_grad(total))(jnp.full((1, 5), extreme))
  assert bool(jnp.isfinite(value)) and bool(jnp.isfinite(grad).all())


def cropped(image, centre, size, scales):
  """Loops over pixels of what `crop` returns."""
  height, width, channels = image.shape
  out = np.zeros((scales, size, size, channels))
  for scale in range(scales):
    block = 2**scale
    left, top = (
      int(np.round((np.float32(c) + 1) / 2 * length - size * block / 2))
      for c, length in zip(centre, (width, height), strict=True)
    )
    for i, j, di, dj in np.ndindex(size, size, block, block):
      y, x = top + i * block + di, left + j * block + dj
      if 0 <= y < height and 0 <= x < width:
        out[scale, i, j] += image[y, x] / block**2
  return out


def test_crop_equals_a_loop_over_pixels():
  rng = np.random.default_rng(0)
  images = rng.random((5, HEIGHT, WIDTH, 2), np.float32)
  centres = np.array([[0, 0], [-1, -1], [1, 0.3], [0.41, -0.77], [-0.2, 1]], np.float32)
  crop = jax.jit(glimpse.crop, static_argnums=(2, 3))
  found = crop(images, centres, 3, 3)
  for image, centre, patch in zip(images, centres, found, strict=True):
    np.testing.assert_allclose(patch, cropped(image, centre, 3, 3), atol=1e-6)


def test_nothing_flows_from_a_crop_to_where_it_lies(image):
  total = lambda centres: glimpse.crop(image, centres, 3, 2).sum()
  np.testing.assert_array_equal(jax.jit(jax.grad(total))(jnp.zeros((1, 2))), np.zeros((1, 2)))


def test_a_glimpse_larger_than_the_image_is_refused(image):
  with pytest.raises(InputError, match=r'10 x 10 pixels, expected 1 to 9 a side in .* 9 x 12'):
    glimpse.crop(image, jnp.zeros((1, 2)), 10, 1)
  with pytest.raises(InputError, match='1 x 1 pixels, expected 2 to 9'):
    glimpse.place(jnp.zeros((1, 5)), HEIGHT, WIDTH, 1)
