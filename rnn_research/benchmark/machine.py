"""What a measurement must say about the machine it was made on."""

import os
import platform
from pathlib import Path

from rnn_research.training.backend import num_cores
from rnn_research.training.result import versions


def describe() -> dict[str, str | int | float]:
  """Returns processor, usable cores, memory in GiB, operating system and versions; starts no
  backend."""
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30
  return {
    'processor': _processor(),
    'cores': num_cores(),
    'memory_gib': round(memory, 1),
    'system': platform.platform(terse=True),
    **versions(),
  }


def _processor():
  path = Path('/proc/cpuinfo')
  lines = path.read_text('utf-8', 'replace').splitlines() if path.exists() else []
  names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
  return next(iter(names), platform.processor() or platform.machine())
