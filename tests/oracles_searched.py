"""NumPy float64 steps, as in `test_oracles`, of cells found by search and of cells with paths around their layers."""

import numpy as np


def relu(a):
  return np.maximum(a, 0.0)


def sigmoid(a):
  return 1.0 / (1.0 + np.exp(-a))


def highway_step(p, state, x):
  h, t = np.tanh(x @ p.cell.w_x + state['h'] @ p.cell.w_h + p.cell.b), sigmoid(x @ p.w_t + p.b_t)
  return {'h': h}, h * t + x * (1.0 - t)


def nas_step(p, state, x):
  a, u = np.split(x @ p.w_x, 8, -1), np.split(state['h'] @ p.w_h, 8, -1)
  m_0 = np.tanh(np.tanh(sigmoid(a[0] + u[0]) * relu(a[1] + u[1])) + state['c'])
  m_1 = np.tanh(sigmoid(a[2] + u[2]) + relu(a[3] * u[3]))
  m_2 = np.tanh(np.tanh(a[4] + u[4]) * sigmoid(a[5] + u[5]))
  m_3 = sigmoid(np.tanh(a[6] + u[6]) + sigmoid(a[7] + u[7]))
  c = m_0 * m_1
  h = np.tanh(c * np.tanh(m_2 + m_3))
  return {'c': c, 'h': h}, h


def rhn_step(p, state, x):
  s, u = state['h'], x @ p.w_x
  for w, b in zip(p.w_h, p.b, strict=True):
    n, t = np.split(u + s @ w + b, 2, -1)
    s, u = np.tanh(n) * sigmoid(t) + s * (1.0 - sigmoid(t)), 0.0
  return {'h': s}, s


def rin_step(p, state, x):
  h = relu(x @ p.w_x + state['h'] @ (p.w_h + np.eye(len(p.w_h))) + p.b)
  return {'h': h}, h


def tree_base2_step(p, state, x):
  (x_0, x_1), (h_0, h_1) = np.split(x @ p.w_x, 2, -1), np.split(state['h'] @ p.w_h, 2, -1)
  a_0 = np.tanh(x_0 + h_0)
  c = x_1 * h_1
  a_1 = relu(c)
  h = sigmoid(relu(a_0 + state['c']) * a_1)
  return {'c': c, 'h': h}, h


# name -> (one step, y of the last step in row 0 and column 0 from the constant parameters of `test_oracles.setup`)
ORACLES = {
  'highway': (highway_step, -0.254319776902),
  'nas': (nas_step, 0.089031904295),
  'rhn': (rhn_step, -0.557413745719),
  'rin': (rin_step, 35.994426515559),
  'tree_base2': (tree_base2_step, 0.5),
}
