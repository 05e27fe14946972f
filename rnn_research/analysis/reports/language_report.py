"""The report of a language model: what it wrote, how its loss fell, what its gradients did."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from rnn_research.analysis.reports import plots
from rnn_research.analysis.reports.tables import (
  fenced,
  picture,
  read_result,
  result_markdown,
  samples_markdown,
  write_samples,
)
from rnn_research.training.metrics_log import read_log
from rnn_research.training.result import write_text
from rnn_research.typing import Key, Params

TEMPERATURES = (0.5, 0.8, 1.0)


def write_report(
  write: Callable[[float, Params, Key], str],
  params: Params,
  workdir: str | os.PathLike,
  out_dir: str | os.PathLike,
) -> None:
  """Writes README.md, figures with their numbers as CSV, and samples.md to `out_dir`.

  Args:
    write: `(temperature, params, key) -> text` that the model writes.
    params: of the trained model.
    workdir: of the run, whose metrics.jsonl and, if the run is finished, result.json are read.
    out_dir: an existing folder.
  """
  rows, out = read_log(workdir), Path(out_dir)
  plots.save(plots.loss_curves(rows), out / 'loss.png')
  plots.save(plots.gradient_figure(rows), out / 'gradients.png')
  write_samples(out / 'samples.md', rows)
  fresh = {
    temperature: write(temperature, params, jax.random.key(0)) for temperature in TEMPERATURES
  }
  write_text(
    out / 'README.md', '\n'.join(_sections(read_result(workdir), samples_markdown(rows), fresh))
  )


def _sections(
  result: Mapping[str, Any] | None, samples: str, fresh: Mapping[float, str]
) -> list[str]:
  written = '\n'.join(
    f'### Temperature {temperature}\n\n{fenced(text)}' for temperature, text in fresh.items()
  )
  return [
    f'# {result["experiment"] if result else "A run that is not finished"}\n',
    result_markdown(result),
    f'## Loss\n\n{picture("Training and validation loss over steps", "loss")}',
    '## Gradients\n\n'
    + picture('Gradient norm, share clipped and learning rate over steps', 'gradients'),
    f'## What it wrote while it trained\n\n{samples}',
    '## What it writes now\n\nThe parameters of the best evaluation, from the initial state, seed '
    '0. A lower '
    f'temperature prefers probable symbols.\n\n{written}',
  ]
