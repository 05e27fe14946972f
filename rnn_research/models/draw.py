"""DRAW: images are read and drawn in steps by a variational autoencoder of two recurrent cells."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnn_research.cell import Cell
from rnn_research.encoders.glimpse import Place
from rnn_research.layers import dense, init_dense
from rnn_research.models.draw_sight import Sight
from rnn_research.stepping import output_shapes, prepare_cell, project_one
from rnn_research.typing import Array, Key, Params, State
from rnn_research.unroll import unroll


class DrawParams(NamedTuple):
  """Parameters of DRAW."""

  encoder: Params
  decoder: Params
  latent: Params  # of mu and log sigma
  sight: Params
  canvas: Array  # [1, S, S, C] float32, c_0


class DrawState(NamedTuple):
  """State of DRAW after t steps."""

  canvas: Array  # [B, S, S, C] float32, c_t, logits
  h: Array  # [B, H] float32, the decoder's output
  encoder: State
  decoder: State


class Drawn(NamedTuple):
  """What one step did.

  Attributes:
    kl: [B] float32, nats, KL(q(z_t | x, z_<t) || p(z_t)); 0 of what was drawn from p.
    log_ratio: [B] float32, log p(z_t) - log q(z_t | x, z_<t) of the z_t that was drawn.
    canvas: [B, S, S, C] float32, c_t, logits.
    read: where it read, or None.
    wrote: where it wrote, or None.
  """

  kl: Array
  log_ratio: Array
  canvas: Array
  read: Place | None
  wrote: Place | None


class Bounds(NamedTuple):
  """How well images are explained, in nats.

  Attributes:
    reconstruction: [B] float32, -log p(x | z_1..T), L^x.
    kl: [T, B] float32, KL of each step; their sum is L^z.
    log_weight: [B] float32, log p(x, z) - log q(z | x): the log mean of its exponential over K
      draws is the importance-weighted bound on log p(x).
  """

  reconstruction: Array
  kl: Array
  log_weight: Array


class Draw(NamedTuple):
  """A model that reads and draws images.

  Attributes:
    init: `(key) -> params`.
    read: `(params, images [B, S, S, C], noise [T, B, Z]) -> (state, Drawn)`, the last state and
      what every step did, leaves [T, B, ...]: as the encoder sees the images.
    imagine: `(params, noise [T, B, Z]) -> (state, Drawn)`: from the prior.
    latent_size: Z.
    shape: (S, S, C).
  """

  init: Callable[[Key], Params]
  read: Callable[[Params, Array, Array], tuple[DrawState, Drawn]]
  imagine: Callable[[Params, Array], tuple[DrawState, Drawn]]
  latent_size: int
  shape: tuple[int, int, int]


def draw(encoder: Cell, decoder: Cell, sight: Sight, shape: tuple, latent_size: int) -> Draw:
  """Makes DRAW.

    x^_t = x - sigmoid(c_{t-1}),   r_t = read(x, x^_t, h^dec_{t-1})
    h^enc_t = encoder([r_t; h^dec_{t-1}]),   mu_t, log sigma_t = W h^enc_t
    z_t = mu_t + sigma_t e_t,   h^dec_t = decoder(z_t),   c_t = c_{t-1} + write(h^dec_t)

  Args:
    encoder: any cell whose output is an array.
    decoder: likewise.
    sight: how it reads and writes.
    shape: (S, S, C) of images.
    latent_size: Z, numbers of z_t.

  Source: Gregor et al. 2015 (arXiv 1502.04623), equations 1 to 16.
  Deviates from the paper: states before the first step are zero where the cells' are, not learned;
  the canvas before it is.
  """
  reading = _reading_cell(encoder, decoder, sight, shape, latent_size)
  imagining = _imagining_cell(reading, decoder, sight)
  look = jax.ShapeDtypeStruct((1, latent_size), jnp.float32)
  return Draw(
    init=lambda key: reading.init(key, look),
    read=lambda params, images, noise: unroll(reading, params, noise, ctx=images),
    imagine=lambda params, noise: unroll(imagining, params, noise),
    latent_size=latent_size,
    shape=shape,
  )


def _reading_cell(encoder, decoder, sight, shape, latent_size) -> Cell:
  """A cell over noise [B, Z] whose ctx is the images."""

  def init(key, x, ctx=None):
    key_encoder, key_decoder, key_latent, key_sight = jax.random.split(key, 4)
    decoder_params = decoder.init(key_decoder, x)
    h = jnp.zeros(output_shapes(decoder, decoder_params, x).shape, jnp.float32)
    sight_params = sight.init(key_sight, h.shape[-1])
    image = jnp.zeros((1, *shape), jnp.float32)
    seen = sight.read(sight_params, image, image, h)[0]
    fed = jnp.concatenate([seen, h], -1)
    encoder_params = encoder.init(key_encoder, fed)
    units = output_shapes(encoder, encoder_params, fed).shape[-1]
    latent = init_dense(key_latent, units, 2 * latent_size)
    return DrawParams(encoder_params, decoder_params, latent, sight_params, image)

  def initial_state(params, batch_size):
    canvas = jnp.broadcast_to(params.canvas, (batch_size, *shape))
    look = jax.ShapeDtypeStruct((batch_size, latent_size), jnp.float32)
    h = jnp.zeros(output_shapes(decoder, params.decoder, look).shape, jnp.float32)
    cells = (encoder, params.encoder), (decoder, params.decoder)
    return DrawState(canvas, h, *(cell.initial_state(own, batch_size) for cell, own in cells))

  def prepare(params, ctx, batch_size, *, key=None):
    own = {
      name: prepare_cell(cell, getattr(params, name), None, batch_size, key)[0]
      for name, cell in (('encoder', encoder), ('decoder', decoder))
    }
    return params._replace(**own), ctx

  def step(params, state, u, *, key=None, ctx=None):
    errors = ctx - jax.nn.sigmoid(state.canvas)
    seen, where = sight.read(params.sight, ctx, errors, state.h)
    fed = project_one(encoder, params.encoder, jnp.concatenate([seen, state.h], -1))
    encoder_state, y = encoder.step(params.encoder, state.encoder, fed)
    mu, log_sigma = jnp.split(dense(params.latent, y), 2, -1)
    z = mu + jnp.exp(log_sigma) * u
    state, drawn = _write(decoder, sight, params, state._replace(encoder=encoder_state), z)
    kl = 0.5 * (jnp.square(mu) + jnp.expm1(2 * log_sigma) - 2 * log_sigma).sum(-1)
    log_ratio = (0.5 * (jnp.square(u) - jnp.square(z)) + log_sigma).sum(-1)
    return state, drawn._replace(kl=kl, log_ratio=log_ratio, read=where)

  return Cell(init, initial_state, lambda params, xs: xs, step, None, prepare)


def _imagining_cell(reading, decoder, sight) -> Cell:
  """A cell over z [B, Z], which is noise."""

  def step(params, state, u, *, key=None, ctx=None):
    return _write(decoder, sight, params, state, u)

  return reading._replace(step=step)


def _write(decoder, sight, params, state, z):
  inner, h = decoder.step(params.decoder, state.decoder, project_one(decoder, params.decoder, z))
  added, where = sight.write(params.sight, h)
  canvas, nothing = state.canvas + added, jnp.zeros(len(z), jnp.float32)
  return DrawState(canvas, h, state.encoder, inner), Drawn(nothing, nothing, canvas, None, where)


def bounds(model: Draw, params: Params, images: Array, key: Key, steps: int) -> Bounds:
  """Returns the bounds of one draw of z for each image.

    L^x = -sum_pixels log Bernoulli(x | sigmoid(c_T)),   L^z = sum_t KL(q(z_t | x, z_<t) || p(z_t))

  Args:
    model: see `draw`.
    params: of the model.
    images: [B, S, S, C] float32 in [0, 1].
    key: consumed: noise of every step.
    steps: T.

  Source: Gregor et al. 2015, equations 9 to 12; the weights: Burda et al. 2016 (arXiv 1509.00519),
  equation 8.
  """
  noise = jax.random.normal(key, (steps, len(images), model.latent_size))
  state, drawn = model.read(params, images, noise)
  logits = state.canvas  # not the last of all canvases, which would be kept
  # -log Bernoulli(x | sigmoid(a)) = softplus(a) - x a
  nats = (jax.nn.softplus(logits) - images * logits).sum((1, 2, 3))
  return Bounds(nats, drawn.kl, drawn.log_ratio.sum(0) - nats)
