"""Contenders that run on PyTorch, which is no dependency: a worker that cannot import this says
so."""

import functools

import torch

from rnn_research.benchmark.contenders import (
  CLIP_NORM,
  LEARNING_RATE,
  NUM_SYMBOLS,
  Setting,
  symbols,
)
from rnn_research.benchmark.serve import Program
from rnn_research.training.backend import num_cores

_LAYERS = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU, 'elman': torch.nn.RNN}


def about() -> dict:
  """Returns the version and whether there is a CUDA device."""
  return {'version': torch.__version__, 'cuda': torch.cuda.is_available()}


def onednn(setting: Setting):
  """On the cores, with oneDNN where PyTorch knows how."""
  torch.backends.mkldnn.set_flags(True)
  return _training(setting, 'cpu', torch.float32)


def native(setting: Setting):
  """On the cores, without oneDNN."""
  torch.backends.mkldnn.set_flags(False)
  return _training(setting, 'cpu', torch.float32)


def cuda(setting: Setting):
  """On an NVIDIA GPU in float32, with TF32 products as JAX has them there."""
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
  return _training(setting, 'cuda', torch.float32)


def cuda_bfloat16(setting: Setting):
  """On an NVIDIA GPU under autocast to bfloat16."""
  return _training(setting, 'cuda', torch.bfloat16)


def sampling(setting: Setting):
  """Symbols one after the other, with a loop over `LSTMCell`s and with an `nn.LSTM` of one step."""
  return _sampling(setting, 'cpu')


def sampling_cuda(setting: Setting):
  """The same on an NVIDIA GPU."""
  return _sampling(setting, 'cuda')


def _sampling(setting, device):
  torch.set_num_threads(num_cores())
  torch.manual_seed(setting.seed)
  size, num_layers = setting.hidden_size, setting.num_layers
  cells = [
    torch.nn.LSTMCell(size if i else NUM_SYMBOLS, size, device=device) for i in range(num_layers)
  ]
  lstm = torch.nn.LSTM(NUM_SYMBOLS, size, num_layers, device=device)
  head = torch.nn.Linear(size, NUM_SYMBOLS, device=device)
  zeros = lambda *shape: torch.zeros(*shape, size, device=device)

  def through_cells(x, states):
    ends = []
    for cell, state in zip(cells, states, strict=True):
      h, c = cell(x, state)
      ends.append((h, c))
      x = h
    return x, ends

  def through_lstm(x, state):
    hs, state = lstm(x[None], state)
    return hs[0], state

  @torch.inference_mode()
  def write(advance, state):
    drawn = torch.zeros(1, dtype=torch.int64, device=device)
    ids = []
    for _ in range(setting.unroll_length):
      h, state = advance(torch.nn.functional.one_hot(drawn, NUM_SYMBOLS).float(), state)
      drawn = torch.multinomial(torch.softmax(head(h), -1), 1)[:, 0]
      ids.append(drawn)
    torch.cat(ids).cpu()  # waits for a GPU

  pair = lambda *shape: (zeros(*shape), zeros(*shape))
  return {
    'LSTMCell': lambda: Program(lambda: write(through_cells, [pair(1) for _ in cells])),
    'nn.LSTM': lambda: Program(lambda: write(through_lstm, pair(num_layers, 1))),
  }


def _training(setting, device, dtype):
  torch.set_num_threads(num_cores())
  torch.manual_seed(setting.seed)
  network = _LAYERS[setting.cell](NUM_SYMBOLS, setting.hidden_size, setting.num_layers).to(device)
  head = torch.nn.Linear(setting.hidden_size, NUM_SYMBOLS).to(device)
  params = [*network.parameters(), *head.parameters()]
  tx = torch.optim.Adam(params, LEARNING_RATE)
  batch, carry = symbols(setting), [None]

  def loss():
    inputs, targets = (
      torch.from_numpy(batch[name]).to(device).T.long() for name in ('inputs', 'targets')
    )
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      hs, state = network(torch.nn.functional.one_hot(inputs, NUM_SYMBOLS).float(), carry[0])
      carry[0] = tuple(a.detach() for a in state) if isinstance(state, tuple) else state.detach()
      logits = head(hs)
    return torch.nn.functional.cross_entropy(
      logits.reshape(-1, NUM_SYMBOLS).float(), targets.reshape(-1)
    )

  @torch.no_grad()
  def forward():
    loss()

  def gradient():
    tx.zero_grad()
    loss().backward()

  def step():
    gradient()
    torch.nn.utils.clip_grad_norm_(params, CLIP_NORM)
    tx.step()

  return {
    part.__name__: functools.partial(_program, setting, part, device)
    for part in (forward, gradient, step)
  }


def _program(setting, part, device):
  if device == 'cpu':
    return Program(part)

  def run():
    for _ in range(setting.in_a_row()):
      part()
    torch.cuda.synchronize()

  return Program(run, device_memory=torch.cuda.max_memory_allocated, times=setting.in_a_row())
