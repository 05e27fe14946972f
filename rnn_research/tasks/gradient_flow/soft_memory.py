"""The report of gradients through soft memory: how far they reach, and how they shake."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnn_research.analysis.measures import soft_memory
from rnn_research.analysis.measures.soft_memory import SELECTIONS
from rnn_research.analysis.reports import memory_figures
from rnn_research.analysis.reports.sections import Section

# Below this part of the largest weight a cell is hardly selected.
HARDLY = 0.01


def sections(settings: Mapping[str, Any], seed: int) -> list[Section]:
  """Measures and draws both."""
  keys = jax.random.split(jax.random.key(seed), settings['draws'])
  memories = jax.vmap(lambda key: soft_memory.draw(key, settings['cells'], settings['size']))(keys)
  kinds = [(name, strength) for name in SELECTIONS for strength in settings['strengths']]
  about = (
    f'A memory of {settings["cells"]} random unit vectors of {settings["size"]} numbers, L = u r '
    f'with u a random unit vector; {settings["draws"]} draws.'
  )
  return [_reach(memories, kinds, about), _shaking(memories, kinds, settings['steps'], about)]


def _reach(memories, kinds, about):
  metrics, curves = {}, {}
  for name, strength in kinds:
    of_one = lambda m, name=name, s=strength: soft_memory.shares(SELECTIONS[name], m, s)
    weights, shares = map(np.asarray, jax.jit(jax.vmap(of_one))(memories))
    hardly = weights < HARDLY
    curves[name, strength] = shares
    metrics[f'{name}, strength {strength:g}'] = {
      'cells_hardly_selected': float(hardly.mean()),
      'gradient_reaching_them': float((shares * hardly).sum(1).mean()),
      'gradient_reaching_the_first_cell': float(shares[:, 0].mean()),
      'gradient_reaching_the_lower_half': float(shares[:, shares.shape[1] // 2 :].sum(1).mean()),
    }
  text = (
    'Share of the norms of dL/dm_i that reaches each cell, where the query is one of the cells. '
    f'{about}'
  )
  plot = memory_figures.reach_figure(curves, text)
  return Section(
    'What reaches cells that are hardly selected', 'memory_reach', plot, metrics=metrics
  )


def _shaking(memories, kinds, num_steps, about):
  metrics, reads, gradients = {}, {}, {}
  for name, strength in kinds:
    of_one = lambda m, name=name, s=strength: soft_memory.shaking(SELECTIONS[name], m, s, num_steps)
    found = jax.jit(jax.vmap(of_one))(memories)
    reads[name, strength], gradients[name, strength] = map(np.asarray, found)
    metrics[f'{name}, strength {strength:g}'] = {
      'largest_change_of_the_read': float(np.median(found.read.max(1))),
      'largest_change_of_the_gradient': float(np.median(found.gradient.max(1))),
    }
  text = (
    f'The query goes from one cell to another in {num_steps - 1} steps; change of a step relative '
    f'to the mean size along the way. {about}'
  )
  plot = memory_figures.shaking_figure(reads, gradients, text)
  return Section(
    'What shakes when the selected cell changes', 'memory_shaking', plot, metrics=metrics
  )
