"""A run in its workdir: train, evaluate, report.

config.json            experiment, resolved config, seed, device count, engine, versions, git hash
checkpoints/ best/     see `checkpoint`
metrics.jsonl          numbers and samples by step
result.json            of a finished run; result-evaluate.json of an evaluation
report/                figures and samples for people
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment
from rnn_research.parameters import num_parameters
from rnn_research.training import backend, checkpoint, grid, loop, result
from rnn_research.training.config import check_unchanged, rows_per_step
from rnn_research.training.metrics_log import read_log
from rnn_research.training.progress import warn
from rnn_research.typing import Params


def train(
  experiment: Experiment, name: str, config: ConfigDict, workdir: str, num_devices: int
) -> None:
  """Trains to the end, evaluates the best parameters on whole splits, writes result.json and the
  report.

  Args:
    experiment: of `build(config)`.
    name: 'name:variant', for the record.
    config: the resolved config.
    workdir: made if it does not exist.
    num_devices: 0 takes those of the workdir, or as many as divide the batch.
  """
  data, mesh = experiment.train_data(), _mesh(config, workdir, num_devices)
  about = _about(name, config) | _about_model(experiment) | {'num_devices': mesh.size}
  members = grid.members(config)
  trained = grid.over_grid(experiment, members) if members else experiment
  stopped = loop.train(trained, data, config, workdir, mesh, about)
  if not stopped.finished:
    return
  first, path = jax.process_index() == 0, Path(workdir) / 'result.json'
  if not _is_of(path, stopped.step):
    # In every process: restoring waits for all of them.
    params = restore(experiment, workdir)[1]
    metrics = _final_metrics(experiment, config, params)
    if first:
      result.write_json(
        path,
        {
          **about,
          'steps': stopped.step,
          'seconds': stopped.seconds,
          'best_step': stopped.best.step,
          'metrics': metrics,
          **_of_grid(experiment.headline, members, workdir, stopped.best.step),
        },
      )
      _write_report(experiment, params, workdir)
  if first:
    print_result(path)


def study(
  experiment: Experiment,
  name: str,
  saved: ConfigDict,
  config: ConfigDict,
  workdir: str,
  redraw: bool,
) -> None:
  """Runs an experiment without training: its report, then result.json.

  A finished one prints its result again, or with `redraw` does everything again.

  Raises:
    InputError: the finished one had another config than `config`: it had `saved`.
  """
  path = Path(workdir) / 'result.json'
  with checkpoint.hold(workdir):
    if path.exists():
      check_unchanged(saved, config, workdir, training=True)
    if redraw or not path.exists():
      about, started = _about(name, config), time.monotonic()
      result.write_json(Path(workdir) / 'config.json', about)
      metrics = _write_report(experiment, None, workdir)
      result.write_json(path, {**about, 'seconds': time.monotonic() - started, 'metrics': metrics})
  print_result(path)


def evaluate(experiment: Experiment, name: str, config: ConfigDict, workdir: str) -> None:
  """Evaluates the best parameters of a workdir on whole splits; writes and prints
  result-evaluate.json."""
  step, params = restore(experiment, workdir)
  path = Path(workdir) / 'result-evaluate.json'
  result.write_json(
    path,
    {
      **_about(name, config),
      **_about_model(experiment),
      'steps': step,
      'seconds': checkpoint.read_meta(workdir)[1]['seconds'],
      'metrics': _final_metrics(experiment, config, params),
    },
  )
  print_result(path)


def report(experiment: Experiment, workdir: str) -> None:
  """Writes figures and samples for people to workdir/report."""
  _write_report(experiment, restore(experiment, workdir)[1], workdir)


def restore(experiment: Experiment, workdir: str) -> tuple[int, Params]:
  """Returns the step and the parameters of the best evaluation."""
  return checkpoint.restore_params(workdir, _template(experiment))


def assets(workdir: str) -> dict[str, Any]:
  """Returns what `build` needs of a trained workdir: the experiment's assets and the data's
  fingerprint."""
  meta = checkpoint.read_meta(workdir)[1]
  return meta['assets'] | {'fingerprint': meta['fingerprint']}


def saved_devices(workdir: str) -> int:
  """Returns how many devices the run in `workdir` is split over; 0 where there is none to go on
  from."""
  path = Path(workdir) / 'config.json'
  if not path.exists() or not checkpoint.has_checkpoint(workdir):
    return 0
  return json.loads(path.read_text('utf-8')).get('num_devices', 0)


def print_result(path: Path) -> None:
  """Prints a result file: a line per split, or per group of a study."""
  values = json.loads(Path(path).read_text('utf-8'))
  for split, metrics in (values['metrics'] | values.get('grid', {})).items():
    print(f'{split}: {result.figures(metrics)}')
  if 'best_member' in values:
    print(
      f'the best member, chosen on {values["headline"][0]}: {result.figures(values["best_member"])}'
    )
  after = f'after {values["steps"]} steps; ' if 'steps' in values else ''
  print(f'{after}all of it is in {path}', flush=True)


def _write_report(experiment, params, workdir):
  out = Path(workdir) / 'report'
  out.mkdir(exist_ok=True)
  metrics = experiment.report(params, workdir, str(out))
  print(f'the report is in {out}', flush=True)
  return metrics


def _of_grid(headline, members, workdir, best_step):
  """Returns what result.json says of a grid: whose parameters are the best, all members, and their
  spread."""
  if not members:
    return {}
  log = read_log(workdir)
  rows = grid.results(log, members, headline)
  return {
    'best_member': grid.best_at(log, members, headline, best_step),
    'members': rows,
    'grid': grid.summary(rows, headline),
  }


def _final_metrics(experiment, config, params):
  key = jax.random.key(config.seed)
  return {split: measure(params, key) for split, measure in experiment.final_evaluate.items()}


def _about(name, config):
  return {
    'experiment': name,
    'config': config.to_dict(),
    'seed': config.seed,
    'versions': result.versions(),
    'git_hash': result.git_hash(),
  }


def _about_model(experiment):
  return {
    'params': num_parameters(_template(experiment)),
    'engine': experiment.engine,
    'headline': experiment.headline,
  }


def _template(experiment):
  return jax.eval_shape(experiment.init, jax.random.key(0))


def _is_of(path, step):
  return path.exists() and json.loads(path.read_text('utf-8'))['steps'] == step


def _mesh(config, workdir, num_devices):
  """Returns a mesh of the devices of the flag, else of the workdir if there are so many, else of as
  many as fit."""
  saved = saved_devices(workdir)
  mesh = backend.data_mesh(
    rows_per_step(config), num_devices or (saved if saved <= jax.device_count() else 0)
  )
  if saved not in (0, mesh.size):
    warn(f'the run began on {saved} devices and goes on with {mesh.size}: not bit for bit')
  return mesh
