"""Oracles of gated cells: one step in NumPy, and the golden value of `test_oracles`."""

import numpy as np
from oracles import product, sigmoid


def variant_step(blocks, change):
  """Returns a step of the LSTM with peepholes: `blocks` is the order of columns, `change(pre)` what is different."""
  def step(p, state, x):
    c, h = state['c'], state['h']
    z = dict(zip(blocks, np.split(product(x, p.w_x) + product(h, p.w_h) + p.b, len(blocks), -1), strict=True))
    peephole = dict(zip([name for name in 'ifo' if name in blocks], p.peepholes, strict=True))
    back = dict.fromkeys('ifo', 0.0)
    if 'gates' in state:
      for column, name in enumerate('ifo'):
        for row, gate in enumerate(np.split(state['gates'], 3, -1)):
          size = gate.shape[-1]
          q = p.w_h_gates[row * size:(row + 1) * size, column * size:(column + 1) * size]
          back[name] = back[name] + gate @ q
    gate = lambda name, c: sigmoid(z[name] + peephole[name] * c + back[name])
    one = np.ones_like(c)
    i = one if change == 'nig' else gate('i', c)
    f = {'nfg': lambda: one, 'cifg': lambda: 1.0 - i}.get(change, lambda: gate('f', c))()
    c = f * c + i * (z['g'] if change == 'niaf' else np.tanh(z['g']))
    o = one if change == 'nog' else gate('o', c)
    h = o * (c if change == 'noaf' else np.tanh(c))
    return {'c': c, 'h': h} | ({'gates': np.concatenate([i, f, o], -1)} if 'gates' in state else {}), h
  return step


ORACLES = {
    'lstm_cifg': (variant_step('igo', 'cifg'), -0.213628114898),
    'lstm_fgr': (variant_step('ifgo', 'fgr'), 0.107933705157),
    'lstm_nfg': (variant_step('igo', 'nfg'), -0.712838912966),
    'lstm_niaf': (variant_step('ifgo', 'niaf'), 0.232004079687),
    'lstm_nig': (variant_step('fgo', 'nig'), -0.306136953126),
    'lstm_noaf': (variant_step('ifgo', 'noaf'), 0.171940814699),
    'lstm_nog': (variant_step('ifg', 'nog'), 0.055447136246),
}
