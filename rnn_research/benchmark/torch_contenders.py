"""Contenders on PyTorch, which is no dependency: a worker that cannot import this says so.

A function `(setting, **options) -> part -> () -> Program` each; see `contenders`.
"""

import functools

import torch
from torch import nn

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import NUM_SYMBOLS, VOCABULARY_SIZE
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.data.codec import BOS
from rnn_research.training.backend import num_cores

_LAYERS = {'lstm': nn.LSTM, 'gru': nn.GRU, 'elman': nn.RNN}


def about() -> dict:
  """Returns the version and whether there is a CUDA device."""
  return {'version': torch.__version__, 'cuda': torch.cuda.is_available()}


def training(setting: Setting, device='cpu', dtype='float32', onednn=True):
  """A training step, on the cores with oneDNN or without, or on an NVIDIA GPU: in float32 with TF32
  products as JAX has them there, or under autocast to bfloat16."""
  torch.backends.mkldnn.set_flags(onednn)
  _configure(setting, allow_tf32=dtype == 'float32')
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


def _configure(setting, allow_tf32):
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
  _configure(setting, allow_tf32=False)
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


class Translator(nn.Module):
  """A GRU in both directions, and a GRU that reads it by additive attention; all sizes but the
  vocabularies' are H."""

  def __init__(self, size: int):
    super().__init__()
    self.source = nn.Embedding(VOCABULARY_SIZE, size)
    self.target = nn.Embedding(VOCABULARY_SIZE, size)
    self.encoder = nn.GRU(size, size, batch_first=True, bidirectional=True)
    self.bridge = nn.Linear(2 * size, size)
    self.query = nn.Linear(size, size, bias=False)
    self.key = nn.Linear(2 * size, size)
    self.score = nn.Linear(size, 1, bias=False)
    self.decoder = nn.GRUCell(3 * size, size)
    self.head = nn.Linear(4 * size, VOCABULARY_SIZE)

  @torch.no_grad()
  def translate(self, sources: torch.Tensor, num_symbols: int) -> torch.Tensor:
    """Returns the most probable symbols one after the other, [B, T] int64, of sources [B, S]
    without padding."""
    values, ends = self.encoder(self.source(sources))
    keys, state = self.key(values), torch.tanh(self.bridge(torch.cat([*ends], -1)))
    ids, written = torch.full((len(sources),), BOS, device=sources.device), []
    for _ in range(num_symbols):
      weights = torch.softmax(self.score(torch.tanh(self.query(state)[:, None] + keys)), 1)
      context = torch.bmm(weights.transpose(1, 2), values)[:, 0]
      x = self.target(ids)
      state = self.decoder(torch.cat([x, context], -1), state)
      logits = self.head(torch.cat([state, context, x], -1))
      logits[:, contenders.NEVER_WRITTEN] = -torch.inf
      ids = logits.argmax(-1)
      written.append(ids)
    return torch.stack(written, 1)


def translation(setting: Setting, device: str):
  """Greedily, a loop over the symbols to write; on an NVIDIA GPU with TF32 products as JAX has them
  there."""
  _configure(setting, allow_tf32=True)
  model = Translator(setting.hidden_size).to(device)
  sources = torch.from_numpy(contenders.sentences(setting)).to(device)
  translate = lambda: model.translate(sources, setting.unroll_length).cpu()  # waits for a GPU
  return {'greedy': lambda: Program(translate)}
