"""A run in its workdir: train, evaluate, report.

  config.json            experiment, resolved config, device count
  checkpoints/ best/     see `checkpoint`
  metrics.jsonl          numbers and samples by step
  result.json            of a finished training run; result-evaluate.json of an evaluation
  report/                figures and samples for people
"""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from rnn_research.experiment import Experiment
from rnn_research.training import backend, checkpoint, loop, result
from rnn_research.typing import Params


def train(experiment: Experiment, name: str, config: ConfigDict, workdir: str, num_devices: int) -> None:
  """Trains to the end, evaluates the best parameters on whole splits, writes result.json and the report.

  Args:
    experiment: of `build(config)`.
    name: 'name:variant', for the record.
    config: the resolved config.
    workdir: made if it does not exist.
    num_devices: 0 takes those of the workdir, or as many as divide the batch.
  """
  data = experiment.train_data()
  mesh = backend.data_mesh(config.train.batch_size, _device_count(workdir, num_devices))
  if jax.process_index() == 0:
    Path(workdir).mkdir(parents=True, exist_ok=True)
    result.write_json(Path(workdir) / 'config.json', {
        'experiment': name, 'config': config.to_dict(), 'num_devices': mesh.size, 'versions': result.versions(),
        'git_hash': result.git_hash()})
  stopped = loop.train(experiment, data, config, workdir, mesh)
  if not stopped.finished or jax.process_index() > 0:
    return
  path = Path(workdir) / 'result.json'
  if not _is_of(path, stopped.step):
    metrics = {'best_step': stopped.best[0], 'metrics': _final_metrics(experiment, config, workdir)}
    result.write_json(path, {**_about(experiment, name, config), 'steps': stopped.step, 'seconds': stopped.seconds,
                             'num_devices': mesh.size, **metrics})
    if experiment.report:
      report(experiment, workdir)
  print_result(path)


def evaluate(experiment: Experiment, name: str, config: ConfigDict, workdir: str) -> None:
  """Evaluates the best parameters of a workdir on whole splits; writes and prints result-evaluate.json."""
  step, _ = restore(experiment, workdir)
  path = Path(workdir) / 'result-evaluate.json'
  result.write_json(path, {**_about(experiment, name, config), 'steps': step,
                           'metrics': _final_metrics(experiment, config, workdir)})
  print_result(path)


def report(experiment: Experiment, workdir: str) -> None:
  """Writes figures and samples for people to workdir/report."""
  out = Path(workdir) / 'report'
  out.mkdir(exist_ok=True)
  experiment.report(restore(experiment, workdir)[1], workdir, str(out))
  print(f'the report is in {out}', flush=True)


def restore(experiment: Experiment, workdir: str) -> tuple[int, Params]:
  """Returns the step and the parameters of the best evaluation."""
  return checkpoint.restore_params(workdir, _template(experiment))


def has_checkpoint(workdir: str) -> bool:
  """Returns whether a run in `workdir` has saved anything to go on from."""
  return any(path.name.isdigit() for path in Path(workdir).glob('checkpoints/*'))


def print_result(path: Path) -> None:
  """Prints a result file: a line per split."""
  values = json.loads(Path(path).read_text())
  for split, metrics in values['metrics'].items():
    numbers = '  '.join(f'{name} {value:.4f}' if isinstance(value, float) else f'{name} {value}'
                        for name, value in metrics.items())
    print(f'{split}: {numbers}')
  print(f'after {values["steps"]} steps; all of it is in {path}', flush=True)


def _final_metrics(experiment, config, workdir) -> dict[str, dict[str, Any]]:
  _, params = restore(experiment, workdir)
  key = jax.random.key(config.seed)
  return {split: measure(params, key) for split, measure in experiment.final_evaluate.items()}


def _about(experiment, name, config):
  params = sum(leaf.size for leaf in jax.tree.leaves(_template(experiment)))
  return {'experiment': name, 'config': config.to_dict(), 'seed': config.seed, 'params': params,
          'engine': experiment.engine, 'versions': result.versions(), 'git_hash': result.git_hash()}


def _template(experiment):
  return jax.eval_shape(experiment.init, jax.random.key(0))


def _is_of(path, step):
  return path.exists() and json.loads(path.read_text())['steps'] == step


def _device_count(workdir, num_devices):
  """Returns the devices to ask for: those of the flag, else those of the workdir, else 0."""
  path = Path(workdir) / 'config.json'
  if not path.exists() or not has_checkpoint(workdir):
    return num_devices
  saved = json.loads(path.read_text())['num_devices']
  wanted = num_devices or min(saved, jax.device_count())
  if wanted != saved:
    print(f'warning: the run began on {saved} devices and goes on with {wanted}: not bit for bit', flush=True)
  return wanted
