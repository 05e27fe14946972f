"""Oracles of gated cells: one step in NumPy, and the golden value of `test_oracles`."""

from types import SimpleNamespace

import numpy as np
from oracles import norm, product, sigmoid


def variant_step(blocks, change):
  """Returns a step of the LSTM with peepholes: `blocks` is the order of columns, `change(pre)` what is different."""

  def step(p, state, x):
    c, h = state['c'], state['h']
    z = dict(
      zip(
        blocks, np.split(product(x, p.w_x) + product(h, p.w_h) + p.b, len(blocks), -1), strict=True
      )
    )
    names = [name for name in 'ifo' if name in blocks]
    weights = np.zeros(len(names)) if p.peepholes is None else p.peepholes
    peephole = dict(zip(names, weights, strict=True))
    back = dict.fromkeys('ifo', 0.0)
    if 'gates' in state:
      for column, name in enumerate('ifo'):
        for row, gate in enumerate(np.split(state['gates'], 3, -1)):
          size = gate.shape[-1]
          q = p.w_h_gates[row * size : (row + 1) * size, column * size : (column + 1) * size]
          back[name] = back[name] + gate @ q
    gate = lambda name, c: sigmoid(z[name] + peephole[name] * c + back[name])
    one = np.ones_like(c)
    i = one if change == 'nig' else gate('i', c)
    f = {'nfg': lambda: one, 'cifg': lambda: 1.0 - i}.get(change, lambda: gate('f', c))()
    c = f * c + i * (z['g'] if change == 'niaf' else np.tanh(z['g']))
    o = one if change == 'nog' else gate('o', c)
    h = o * (c if change == 'noaf' else np.tanh(c))
    return {'c': c, 'h': h} | (
      {'gates': np.concatenate([i, f, o], -1)} if 'gates' in state else {}
    ), h

  return step


def mut_step(p, h, z, r, n):
  z, r = sigmoid(z), sigmoid(r + product(h, p.w_h))
  h = np.tanh(n + product(r * h, p.w_hn)) * z + h * (1.0 - z)
  return {'h': h}, h


def mut1_step(p, state, x):
  (x_z, x_r), (b_z, b_r, b_n) = np.split(product(x, p.w_x), 2, -1), np.split(p.b, 3)
  return mut_step(p, state['h'], x_z + b_z, x_r + b_r, np.tanh(product(x, p.w_x_bare)) + b_n)


def mut2_step(p, state, x):
  (x_z, x_n), (b_z, b_r, b_n) = np.split(product(x, p.w_x), 2, -1), np.split(p.b, 3)
  z = x_z + product(state['h'], p.w_hz) + b_z
  return mut_step(p, state['h'], z, product(x, p.w_x_bare) + b_r, x_n + b_n)


def mut3_step(p, state, x):
  z, r, n = np.split(product(x, p.w_x) + p.b, 3, -1)
  return mut_step(p, state['h'], z + product(np.tanh(state['h']), p.w_hz), r, n)


def mgu_step(p, state, x):
  h = state['h']
  x_f, x_n = np.split(product(x, p.w_x) + p.b, 2, -1)
  f = sigmoid(x_f + product(h, p.w_h))
  h = (1.0 - f) * h + f * np.tanh(x_n + product(f * h, p.w_hn))
  return {'h': h}, h


def mlstm_step(p, state, x):
  m = product(x, p.w_xm) * product(state['h'], p.w_hm)
  i, f, g, o = np.split(product(x, p.w_x) + product(m, p.w_h) + p.b, 4, -1)
  c = sigmoid(f) * state['c'] + sigmoid(i) * np.tanh(g)
  h = sigmoid(o) * np.tanh(c)
  return {'c': c, 'h': h}, h


def layer_norm_lstm_step(p, state, x):
  i, f, g, o = np.split(product(x, p.w_x) + product(state['h'], p.w_h) + p.b, 4, -1)
  c = sigmoid(f) * state['c'] + sigmoid(i) * np.tanh(g)
  h = sigmoid(o) * np.tanh(norm(c, SimpleNamespace(scale=p.c_scale, offset=p.c_offset)))
  return {'c': c, 'h': h}, h


ORACLES = {
  'layer_norm_lstm': (layer_norm_lstm_step, 0.275940561636),
  'lstm_cifg': (variant_step('igo', 'cifg'), -0.213628114898),
  'lstm_fgr': (variant_step('ifgo', 'fgr'), 0.107933705157),
  'lstm_nfg': (variant_step('igo', 'nfg'), -0.712838912966),
  'lstm_niaf': (variant_step('ifgo', 'niaf'), 0.232004079687),
  'lstm_nig': (variant_step('fgo', 'nig'), -0.306136953126),
  'lstm_np': (variant_step('ifgo', 'np'), 0.149439042943),
  'lstm_peephole': (variant_step('ifgo', ''), 0.161945573398),
  'lstm_noaf': (variant_step('ifgo', 'noaf'), 0.171940814699),
  'lstm_nog': (variant_step('ifg', 'nog'), 0.055447136246),
  'mgu': (mgu_step, -0.791237750984),
  'mlstm': (mlstm_step, 0.109761157676),
  'mut1': (mut1_step, 0.670439944748),
  'mut2': (mut2_step, 0.168937322876),
  'mut3': (mut3_step, 0.540866090238),
}
