"""The captioner with soft attention as a loop over `LSTMCell` on PyTorch, which is no dependency.
Functions `(setting, **options) -> part -> () -> Program`; see `contenders`."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import CAPTION_SYMBOLS, CHANNELS, COPIES, STEPS
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.benchmark.torch_contenders import configure
from rnn_research.data.codec import BOS, PAD


class Captioner(nn.Module):
  """The model of `captioners.captioning_model`. A picture is read once for all of its captions."""

  def __init__(self, size: int, dropout: float):
    super().__init__()
    self.norm = nn.LayerNorm(CHANNELS, elementwise_affine=False)
    self.annotation, self.summary = nn.Linear(CHANNELS, size // 2), nn.Linear(CHANNELS, size // 2)
    self.embedding = nn.Embedding(CAPTION_SYMBOLS, size // 2)
    self.key, self.query = nn.Linear(size // 2, size // 4), nn.Linear(size, size // 4, bias=False)
    self.score = nn.Linear(size // 4, 1, bias=False)
    self.gate, self.cell = nn.Linear(size, 1), nn.LSTMCell(size, size)
    self.first_c, self.first_h = nn.Linear(size // 2, size), nn.Linear(size // 2, size)
    self.hidden, self.head = nn.Linear(2 * size, size // 2), nn.Linear(size // 2, CAPTION_SYMBOLS)
    self.dropout = nn.Dropout(dropout)

  def encode(self, maps):
    """Returns annotations [B, S, M], keys [B, S, A], and the first h and c, [B, H]."""
    grid = self.dropout(self.norm(maps.flatten(1, 2)))
    values, summary = torch.relu(self.annotation(grid)), self.summary(grid.mean(1))
    states = torch.tanh(self.first_h(summary)), torch.tanh(self.first_c(summary))
    return values, self.key(values), states

  def step(self, x, h, c, values, keys):
    """Returns h, c and the features of the output, [N, ..], of inputs [N, E]: N / B side by side
    for each of B pictures."""
    queries = self.query(h).unflatten(0, (len(keys), -1))
    scores = self.score(torch.tanh(queries[:, :, None] + keys[:, None]))[..., 0]
    context = torch.sigmoid(self.gate(h)) * torch.bmm(torch.softmax(scores, -1), values).flatten(
      0, 1
    )
    h, c = self.cell(torch.cat([x, context], -1), (h, c))
    return h, c, torch.cat([h, context, x], -1)

  def logits(self, features):
    return self.head(self.dropout(torch.tanh(self.hidden(self.dropout(features)))))

  def losses(self, maps, ids, targets):
    """Returns the mean loss of captions [N, T], padded."""
    values, keys, states = self.encode(maps)
    h, c = (a.repeat_interleave(len(ids) // len(maps), 0) for a in states)
    xs, features = self.dropout(self.embedding(ids)), []
    for t in range(ids.shape[1]):
      h, c, found = self.step(xs[:, t], h, c, values, keys)
      features.append(found)
    logits = self.logits(torch.stack(features, 1))
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)

  def sorted_losses(self, maps, ids, targets):
    """The same with the captions in the order of their lengths, so that those which have ended take
    no more steps: every caption then has a memory of its own."""
    lengths, order = torch.sort((targets != PAD).sum(1), descending=True)
    pictures = order // (len(ids) // len(maps))
    values, keys, (h, c) = self.encode(maps)
    values, keys, h, c = (a[pictures] for a in (values, keys, h, c))
    xs, targets = self.dropout(self.embedding(ids[order])), targets[order]
    features, wanted = [], []
    for t in range(int(lengths[0])):
      n = int((lengths > t).sum())
      h, c, found = self.step(xs[:n, t], h[:n], c[:n], values[:n], keys[:n])
      features.append(found)
      wanted.append(targets[:n, t])
    return cross_entropy(self.logits(torch.cat(features)), torch.cat(wanted))

  @torch.inference_mode()
  def write(self, maps, num_words):
    """Returns the most probable words one after the other, [B, T] int64."""
    values, keys, (h, c) = self.encode(maps)
    ids, written = torch.full((len(maps),), BOS, device=maps.device), []
    for _ in range(num_words):
      h, c, features = self.step(self.embedding(ids), h, c, values, keys)
      logits = self.logits(features)
      logits[:, contenders.NEVER_WRITTEN] = -torch.inf
      ids = logits.argmax(-1)
      written.append(ids)
    return torch.stack(written, 1)


def training(setting: Setting, device: str, by_length: bool):
  """A training step on pictures in random order, their captions padded to the longest of the batch
  or taken by their lengths."""
  configure(setting)
  return {'step': lambda: _step(setting, device, by_length)}


def writing(setting: Setting, device: str):
  """Captions written greedily."""
  configure(setting)
  return {'greedy': lambda: _greedy(setting, device)}


def _step(setting, device, by_length):
  material = contenders.pictures(setting)
  model = Captioner(setting.hidden_size, contenders.DROPOUT).to(device).train()
  tx = torch.optim.Adam(model.parameters(), contenders.LEARNING_RATE)
  losses = model.sorted_losses if by_length else model.losses
  rng = np.random.default_rng(setting.seed)

  def step(rows):
    maps = torch.from_numpy(material['features'][rows]).to(device).float()
    longest = material['lengths'][rows].max()
    targets = material['targets'][rows][:, :, :longest].reshape(len(rows) * COPIES, longest)
    ids = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    tx.zero_grad()
    loss = losses(maps, *(torch.from_numpy(a).to(device).long() for a in (ids, targets)))
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), contenders.CAPTION_CLIP_NORM)
    tx.step()
    return loss.detach()

  def run():
    order = rng.permutation(len(material['features']))
    found = [step(rows) for rows in order.reshape(STEPS, setting.batch_size)]
    return torch.stack(found).cpu()  # waits for a GPU

  return Program(run, times=STEPS)


def _greedy(setting, device):
  features = contenders.pictures(setting)['features']
  model = Captioner(setting.hidden_size, contenders.DROPOUT).to(device).eval()
  maps = np.resize(features, (contenders.WRITTEN, *features.shape[1:]))
  maps = torch.from_numpy(maps).to(device)
  return Program(lambda: model.write(maps.float(), setting.unroll_length).cpu())
