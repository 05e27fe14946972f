"""Translators as loops over `GRUCell` and `LSTMCell` on PyTorch, which is no dependency. Functions
`(setting, **options) -> part -> () -> Program`; see `contenders`."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import VOCABULARY_SIZE
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.benchmark.torch_contenders import configure
from rnn_research.data.codec import BOS, EOS, PAD


class Bahdanau(nn.Module):
  """A GRU in both directions, and a GRU that reads it by additive attention before its step: H
  units, E numbers for a symbol."""

  def __init__(self, size: int, embedding_size: int, dropout: float = 0.0):
    super().__init__()
    self.source = nn.Embedding(VOCABULARY_SIZE, embedding_size)
    self.target = nn.Embedding(VOCABULARY_SIZE, embedding_size)
    self.encoder = nn.GRU(embedding_size, size, batch_first=True, bidirectional=True)
    self.bridge = nn.Linear(2 * size, size)
    self.query = nn.Linear(size, size, bias=False)
    self.key = nn.Linear(2 * size, size)
    self.score = nn.Linear(size, 1, bias=False)
    self.decoder = nn.GRUCell(embedding_size + 2 * size, size)
    self.head = nn.Linear(3 * size + embedding_size, VOCABULARY_SIZE)
    self.dropout = nn.Dropout(dropout)

  def encode(self, sources, lengths):
    """Returns values [B, S, 2 H], keys [B, S, H], what is padding, [B, S], and the first state, of
    sources [B, S] and their lengths [B]."""
    values, ends = _read(self.encoder, self.dropout(self.source(sources)), lengths)
    values = self.dropout(values)
    padding = torch.arange(sources.shape[1], device=sources.device) >= lengths[:, None]
    return values, self.key(values), padding, torch.tanh(self.bridge(torch.cat([*ends], -1)))

  def step(self, x, state, values, keys, padding):
    """Returns the state and the features of the output, [B, ..], of inputs [B, E]."""
    scores = self.score(torch.tanh(self.query(state)[:, None] + keys))[..., 0]
    weights = torch.softmax(scores.masked_fill(padding, -torch.inf), 1)
    context = torch.bmm(weights[:, None], values)[:, 0]
    state = self.decoder(torch.cat([x, context], -1), state)
    return state, torch.cat([state, context, x], -1)

  def loss(self, sources, lengths, inputs, targets):
    """Returns the mean loss of a real symbol, of translations [B, T], padded."""
    values, keys, padding, state = self.encode(sources, lengths)
    xs, features = self.dropout(self.target(inputs)), []
    for x in xs.unbind(1):
      state, found = self.step(x, state, values, keys, padding)
      features.append(found)
    return _loss(self.head(self.dropout(torch.stack(features, 1))), targets)

  @torch.no_grad()
  def translate(self, sources: torch.Tensor, num_symbols: int) -> torch.Tensor:
    """Returns the most probable symbols one after the other, [B, T] int64, of sources [B, S]
    without padding."""
    lengths = torch.full((len(sources),), sources.shape[1])
    values, keys, padding, state = self.encode(sources, lengths)
    ids, written = torch.full((len(sources),), BOS, device=sources.device), []
    for _ in range(num_symbols):
      state, features = self.step(self.target(ids), state, values, keys, padding)
      logits = self.head(features)
      logits[:, contenders.NEVER_WRITTEN] = -torch.inf
      ids = logits.argmax(-1)
      written.append(ids)
    return torch.stack(written, 1)


class Luong(nn.Module):
  """LSTMs in both directions, and LSTMs with input feeding that read them by general attention
  after their step: L layers of H units, E numbers for a symbol."""

  def __init__(self, size: int, embedding_size: int, num_layers: int, dropout: float = 0.0):
    super().__init__()
    self.source = nn.Embedding(VOCABULARY_SIZE, embedding_size)
    self.target = nn.Embedding(VOCABULARY_SIZE, embedding_size)
    self.encoder = nn.LSTM(
      embedding_size, size, num_layers, batch_first=True, bidirectional=True, dropout=dropout
    )
    self.first = nn.ModuleList(nn.Linear(2 * size, size) for _ in range(2 * num_layers))
    self.key = nn.Linear(2 * size, size, bias=False)
    self.cells = nn.ModuleList(
      nn.LSTMCell(size if i else embedding_size + size, size) for i in range(num_layers)
    )
    self.joined = nn.Linear(3 * size, size, bias=False)
    self.head = nn.Linear(size, VOCABULARY_SIZE)
    self.dropout = nn.Dropout(dropout)

  def encode(self, sources, lengths):
    """Returns values [B, S, 2 H], keys [B, S, H], what is padding, [B, S], and the first h and c of
    every layer."""
    values, (ends, _) = _read(self.encoder, self.dropout(self.source(sources)), lengths)
    values, summary = self.dropout(values), torch.cat([*ends[-2:]], -1)
    padding = torch.arange(sources.shape[1], device=sources.device) >= lengths[:, None]
    first = [torch.tanh(layer(summary)) for layer in self.first]
    return values, self.key(values), padding, list(zip(first[::2], first[1::2], strict=True))

  def loss(self, sources, lengths, inputs, targets):
    """Returns the mean loss of a real symbol, of translations [B, T], padded."""
    values, keys, padding, states = self.encode(sources, lengths)
    xs, features, fed = self.dropout(self.target(inputs)), [], torch.zeros_like(states[0][0])
    for x in xs.unbind(1):
      h = torch.cat([x, fed], -1)
      for i, cell in enumerate(self.cells):
        states[i] = cell(self.dropout(h) if i else h, states[i])
        h = states[i][0]
      scores = torch.bmm(keys, h[..., None])[..., 0].masked_fill(padding, -torch.inf)
      context = torch.bmm(torch.softmax(scores, 1)[:, None], values)[:, 0]
      fed = torch.tanh(self.joined(torch.cat([context, h], -1)))
      features.append(fed)
    return _loss(self.head(self.dropout(torch.stack(features, 1))), targets)


def _read(encoder, xs, lengths):
  """Returns outputs [B, S, ..] and last states of an encoder that never sees padding."""
  packed = pack_padded_sequence(xs, lengths.cpu(), batch_first=True, enforce_sorted=False)
  outputs, ends = encoder(packed)
  return pad_packed_sequence(outputs, batch_first=True, total_length=xs.shape[1])[0], ends


def _loss(logits, targets):
  return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def training(setting: Setting, device: str):
  """An epoch of training steps, on pairs of like length."""
  configure(setting)
  return {'epoch': lambda: _epoch(setting, device)}


def translation(setting: Setting, device: str):
  """Greedily, a loop over the symbols to write."""
  configure(setting)
  model = Bahdanau(setting.hidden_size, setting.hidden_size).to(device)
  sources = torch.from_numpy(contenders.sentences(setting)).to(device)
  translate = lambda: model.translate(sources, setting.unroll_length).cpu()  # waits for a GPU
  return {'greedy': lambda: Program(translate)}


def _epoch(setting, device):
  size, rate = setting.hidden_size, contenders.TRANSLATION_DROPOUT
  model = (
    Bahdanau(size, size // 2, rate)
    if setting.cell == 'gru'
    else Luong(size, size // 2, setting.num_layers, rate)
  )
  model = model.to(device).train()
  tx = torch.optim.Adam(model.parameters(), contenders.LEARNING_RATE)
  rng = np.random.default_rng(setting.seed)

  def step(batch):
    tx.zero_grad()
    loss = model.loss(*(torch.from_numpy(a).to(device) for a in batch))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), contenders.TRANSLATION_CLIP_NORM)
    tx.step()
    return loss.detach()

  def run():
    found = batches(setting)  # padded in every epoch, as ours are
    losses = [step(found[i]) for i in rng.permutation(len(found))]
    return torch.stack(losses).cpu()  # waits for a GPU

  return Program(run)


def batches(setting: Setting) -> list[tuple[np.ndarray, ...]]:
  """Returns (sources, their lengths, inputs, targets), int64: pairs in the order of their lengths,
  as many as have `unroll_length` symbols on a side, padding included."""
  sources, targets = contenders.pairs(setting)
  longest = np.maximum([len(a) for a in sources], [len(a) + 1 for a in targets])
  order, groups, start = np.argsort(longest, kind='stable'), [], 0
  for end in range(1, len(order) + 1):
    fits = end < len(order) and (end + 1 - start) * longest[order[end]] <= setting.unroll_length
    if not fits:
      groups.append(order[start:end])
      start = end
  padded = lambda rows: np.stack(
    [np.pad(row, (0, max(map(len, rows)) - len(row)), constant_values=PAD) for row in rows]
  ).astype(np.int64)
  return [
    (
      padded([sources[i] for i in rows]),
      np.array([len(sources[i]) for i in rows]),
      padded([np.r_[BOS, targets[i]] for i in rows]),
      padded([np.r_[targets[i], EOS] for i in rows]),
    )
    for rows in groups
  ]
