"""What a measurement must say about the machine it was made on, and what that lacks."""

import os
import platform
from pathlib import Path
from typing import Any

from rnn_research.benchmark import contenders, workers
from rnn_research.benchmark.contenders import Present
from rnn_research.errors import InputError
from rnn_research.training.backend import num_cores
from rnn_research.training.result import git_hash, versions


def examine() -> tuple[dict[str, Any], Present, list[str]]:
  """Returns a description of the machine and its libraries, what of it can be used, and sentences
  about what cannot; starts no backend in this process.

  Raises:
    InputError: JAX does not start.
  """
  libraries = workers.ask_each(contenders.LIBRARIES)
  found, torch = libraries['jax'], libraries['torch']
  if 'failed' in found:
    raise InputError(f'JAX does not start in a process of its own: {found["failed"]}')
  gpu, notes = found['platform'] == 'gpu', []
  if not gpu:
    notes.append(
      'No GPU: not run are cuDNN through jax.experimental.rnn, PyTorch on CUDA, and bfloat16.'
    )
  if 'failed' in torch:
    missing = torch['failed'].startswith('ModuleNotFoundError')
    why = 'is not installed' if missing else f'cannot be imported ({torch["failed"]})'
    notes.append(f'PyTorch {why}: its rows were not run.')
  elif gpu and not torch['cuda']:
    notes.append('PyTorch finds no CUDA device: its rows were not run.')
  present = Present(gpu, 'failed' not in torch and (torch['cuda'] or not gpu))
  machine = _describe() | found | {'torch': torch.get('version'), 'git_hash': git_hash()}
  return machine, present, notes


def _describe():
  cpuinfo = Path('/proc/cpuinfo')
  lines = cpuinfo.read_text('utf-8', 'replace').splitlines() if cpuinfo.exists() else []
  names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  return {
    'processor': next(names, platform.processor() or platform.machine()),
    'cores': num_cores(),
    'memory_gib': round(memory, 1),
    'system': platform.platform(terse=True),
    **versions(),
  }
