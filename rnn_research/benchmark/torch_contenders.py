"""Contenders on PyTorch, which is no dependency: a worker that cannot import this says so.

A function `(setting, **options) -> part -> () -> Program` each; see `contenders`.
"""

import functools

import torch
from torch import nn

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import NUM_SYMBOLS
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.training.backend import num_cores

_LAYERS = {'lstm': nn.LSTM, 'gru': nn.GRU, 'elman': nn.RNN}


def about() -> dict:
  """Returns the version and whether there is a CUDA device."""
  return {'version': torch.__version__, 'cuda': torch.cuda.is_available()}


def training(setting: Setting, device='cpu', dtype='float32', onednn=True):
  """A training step, on the cores with oneDNN or without, or on an NVIDIA GPU: in float32 with TF32
  products as JAX has them there, or under autocast to bfloat16."""
  torch.backends.mkldnn.set_flags(onednn)
  configure(setting, allow_tf32=dtype == 'float32')
  network = _LAYERS[setting.cell](NUM_SYMBOLS, setting.hidden_size, setting.num_layers).to(device)
  head = nn.Linear(setting.hidden_size, NUM_SYMBOLS).to(device)
  params = [*network.parameters(), *head.parameters()]
  tx = torch.optim.Adam(params, contenders.LEARNING_RATE)
  batch, carry = contenders.symbols(setting), [None]

  def loss():
    inputs, targets = (
      torch.from_numpy(batch[name]).to(device).T.long() for name in ('inputs', 'targets')
    )
    with torch.autocast(device, getattr(torch, dtype), enabled=dtype != 'float32'):
      hs, state = network(nn.functional.one_hot(inputs, NUM_SYMBOLS).float(), carry[0])
      carry[0] = tuple(a.detach() for a in state) if isinstance(state, tuple) else state.detach()
      logits = head(hs)
    flat = logits.reshape(-1, NUM_SYMBOLS).float()
    return nn.functional.cross_entropy(flat, targets.reshape(-1))

  @torch.no_grad()
  def forward():
    return loss()

  def gradient():
    tx.zero_grad()
    value = loss()
    value.backward()
    return value.detach()

  def step():
    value = gradient()
    nn.utils.clip_grad_norm_(params, contenders.CLIP_NORM)
    tx.step()
    return value

  parts = {'forward': forward, 'gradient': gradient, 'step': step}
  return {name: functools.partial(_program, setting, part, device) for name, part in parts.items()}


def configure(setting: Setting, allow_tf32: bool = True) -> None:
  """Sets up PyTorch: all cores; on an NVIDIA GPU TF32 products, as JAX has them there."""
  if allow_tf32:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
  torch.set_num_threads(num_cores())
  torch.manual_seed(setting.seed)


def _program(setting, part, device):
  if device == 'cpu':
    return Program(part)

  def run():
    for _ in range(setting.in_a_row()):
      part()
    torch.cuda.synchronize()

  return Program(run, device_memory=torch.cuda.max_memory_allocated, times=setting.in_a_row())


def sampling(setting: Setting, device: str):
  """Symbols one after the other, with a loop over `LSTMCell`s and with an `nn.LSTM` of one step."""
  configure(setting, allow_tf32=False)
  size, num_layers = setting.hidden_size, setting.num_layers
  cells = [nn.LSTMCell(size if i else NUM_SYMBOLS, size, device=device) for i in range(num_layers)]
  lstm = nn.LSTM(NUM_SYMBOLS, size, num_layers, device=device)
  head = nn.Linear(size, NUM_SYMBOLS, device=device)
  pair = lambda *shape: tuple(torch.zeros(2, *shape, size, device=device))

  def through_cells(x, states):
    ends = []
    for cell, state in zip(cells, states, strict=True):
      x, c = cell(x, state)
      ends.append((x, c))
    return x, ends

  def through_lstm(x, state):
    hs, state = lstm(x[None], state)
    return hs[0], state

  @torch.inference_mode()
  def write(advance, state):
    drawn, ids = torch.zeros(1, dtype=torch.int64, device=device), []
    for _ in range(setting.unroll_length):
      h, state = advance(nn.functional.one_hot(drawn, NUM_SYMBOLS).float(), state)
      drawn = torch.multinomial(torch.softmax(head(h), -1), 1)[:, 0]
      ids.append(drawn)
    return torch.cat(ids).cpu()  # waits for a GPU

  return {
    'LSTMCell': lambda: Program(lambda: write(through_cells, [pair(1) for _ in cells])),
    'nn.LSTM': lambda: Program(lambda: write(through_lstm, pair(num_layers, 1))),
  }
