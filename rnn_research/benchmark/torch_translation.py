"""The translation of `jax_translation` in PyTorch, which is no dependency: a worker that cannot
import this says so."""

import torch
from torch import nn

from rnn_research.benchmark.contenders import NEVER_WRITTEN, VOCABULARY_SIZE, Setting, sentences
from rnn_research.benchmark.serve import Program
from rnn_research.data.codec import BOS
from rnn_research.training.backend import num_cores


def greedy(setting: Setting):
  """A loop over the symbols to write, on the cores."""
  return _greedy(setting, 'cpu')


def greedy_cuda(setting: Setting):
  """The same on an NVIDIA GPU, with TF32 products as JAX has them there."""
  torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
  return _greedy(setting, 'cuda')


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
      logits[:, NEVER_WRITTEN] = -torch.inf
      ids = logits.argmax(-1)
      written.append(ids)
    return torch.stack(written, 1)


def _greedy(setting, device):
  torch.set_num_threads(num_cores())
  torch.manual_seed(setting.seed)
  model = Translator(setting.hidden_size).to(device)
  sources = torch.from_numpy(sentences(setting)).to(device)
  return {
    'greedy': lambda: Program(lambda: model.translate(sources, setting.unroll_length).cpu())
  }  # waits for a GPU
