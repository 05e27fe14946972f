"""The neural Turing machine of `machines` as a loop over `LSTMCell` on PyTorch, which is no
dependency. A function `(setting, **options) -> part -> () -> Program`; see `contenders`."""

import torch
from torch import nn
from torch.nn import functional

from rnn_research.benchmark import contenders
from rnn_research.benchmark.contenders import COPIED_BITS
from rnn_research.benchmark.serve import Program, Setting
from rnn_research.benchmark.torch_contenders import configure

_SHIFTS = 3


class Machine(nn.Module):
  """The model of `machines.copier`: one head that reads and one that writes, whose numbers come
  from one product and whose weights are computed side by side."""

  def __init__(self, hidden_size: int):
    super().__init__()
    rows, size = contenders.MEMORY
    self.cell = nn.LSTMCell(COPIED_BITS + 1 + size, hidden_size)
    self.interface = nn.Linear(hidden_size, 2 * (size + 3 + _SHIFTS) + 2 * size)
    self.places = nn.Parameter(torch.randn(2, rows))
    self.first_read = nn.Parameter(0.1 * torch.randn(size))
    self.head = nn.Linear(hidden_size + size, COPIED_BITS)

  def address(self, memory, weights, numbers):
    """Returns weights [B, 2, N], of a memory [B, N, W], those of the step before, and what the
    controller says, split."""
    keys, scalars, shifts = numbers
    norms = (torch.sqrt(a.square().sum(-1, keepdim=True) + 1e-6) for a in (keys, memory))
    key_norms, row_norms = norms
    found = torch.bmm(keys / key_norms, memory.mT) / row_norms.mT
    found = torch.softmax(functional.softplus(scalars[..., :1]) * found, -1)
    weights = torch.lerp(weights, found, torch.sigmoid(scalars[..., 1:2]))
    shifts = torch.softmax(shifts, -1)[..., None]
    weights = sum(
      shifts[:, :, j] * torch.roll(weights, j - _SHIFTS // 2, -1) for j in range(_SHIFTS)
    )
    exponents = 1.0 + functional.softplus(scalars[..., 2:])
    return torch.softmax(exponents * torch.log(weights.clamp_min(1e-30)), -1)

  def loss(self, inputs, targets):
    """Returns the mean loss of a bit, of inputs [2 T + 1, B, F] and targets [T, B, V]."""
    (rows, size), count = contenders.MEMORY, inputs.shape[1]
    memory = inputs.new_full((count, rows, size), 1e-6)
    weights = torch.softmax(self.places, -1).expand(count, -1, -1)
    read, state, outputs = torch.tanh(self.first_read).expand(count, -1), None, []
    for x in inputs:
      state = self.cell(torch.cat([x, read], -1), state)
      interface = self.interface(state[0]).clamp(-20.0, 20.0)
      sizes = [2 * size, 6, 2 * _SHIFTS, size, size]
      keys, scalars, shifts, erase, add = interface.split(sizes, -1)
      numbers = (a.unflatten(-1, (2, -1)) for a in (keys, scalars, shifts))
      weights = self.address(memory, weights, numbers)
      read = torch.bmm(weights[:, :1], memory)[:, 0]
      writing = weights[:, 1, :, None]
      memory = torch.addcmul(memory, memory * writing, torch.sigmoid(erase)[:, None], value=-1)
      memory = torch.addcmul(memory, writing, add[:, None])
      outputs.append(torch.cat([state[0], read], -1))
    logits = self.head(torch.stack(outputs[-len(targets) :]))
    return functional.binary_cross_entropy_with_logits(logits, targets)


def training(setting: Setting, device: str):
  """A training step."""
  configure(setting)
  return {'step': lambda: _step(setting, device)}


def _step(setting, device):
  model = Machine(setting.hidden_size).to(device)
  tx = torch.optim.Adam(model.parameters(), contenders.LEARNING_RATE)
  batch = contenders.copies(setting)

  def run():
    for _ in range(times):
      tx.zero_grad()
      inputs, targets = (
        torch.from_numpy(batch[name]).to(device).transpose(0, 1) for name in ('inputs', 'targets')
      )
      loss = model.loss(inputs, targets)
      loss.backward()
      nn.utils.clip_grad_norm_(model.parameters(), contenders.CLIP_NORM)
      tx.step()
    return loss.item()  # waits for a GPU

  times = 1 if device == 'cpu' else setting.in_a_row()
  return Program(run, times=times)
