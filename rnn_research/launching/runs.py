"""A run in its workdir: how it is trained, evaluated and reported on, and what is written there.

A workdir holds

  config.json            experiment, resolved config, seed, device count, engine, versions, git hash
  checkpoints/ best/     see `checkpoint`
  metrics.jsonl          numbers and samples by step
  result.json            of a finished run; result-evaluate.json of an evaluation
  report/                figures and samples for people
  encoder.weights        and the like: `Experiment.files`
"""

import shutil
import time
from pathlib import Path

import jax

import experiments
from rnn_research.data.files import expand
from rnn_research.errors import InputError
from rnn_research.experiment import Experiment, Study
from rnn_research.launching import words
from rnn_research.launching.config import CHANGEABLE, Start, check_unchanged
from rnn_research.parameters import num_parameters
from rnn_research.training import backend, checkpoint, grid, loop, result
from rnn_research.training.config import check_unevaluated, rows_per_step
from rnn_research.training.metrics_log import read_log
from rnn_research.training.progress import show, warn
from rnn_research.typing import Params
from rnn_research.workdir import Run, restore


def train(experiment: Experiment, start: Start) -> None:
  """Trains to the end, evaluates the best parameters on whole splits, writes result.json and the
  report.

  Args:
    experiment: of `build(config)`.
    start: its workdir is made if it does not exist.

  Raises:
    InputError: the config follows evaluations, but the experiment has none.
  """
  name, workdir, config = start.name, start.workdir, start.config
  first, path = jax.process_index() == 0, Path(workdir) / 'result.json'
  if checkpoint.is_finished(workdir) and start.saved == config:  # whatever has become of its data
    if first:
      print_result(path)
    return
  if not experiment.evaluate:
    check_unevaluated(config)
  data, mesh = experiment.train_data(), _mesh(config, workdir, start.num_devices)
  if first and data.about:
    show(data.about)
  about = _about(name, config) | _about_model(experiment) | {'num_devices': mesh.size}
  members = grid.members(config)
  trained = grid.over_grid(experiment, members) if members else experiment
  if first and experiment.files:
    with checkpoint.hold(workdir):
      _keep_files(experiment.files, workdir)
  stopped = loop.train(trained, data, config, workdir, mesh, about)
  if not stopped.finished:
    return
  if not checkpoint.is_finished(workdir):
    # In every process: restoring waits for all of them.
    run = restore(workdir, name, config, experiment)
    metrics = run.evaluate()
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
      write_report(experiment, run.params, workdir)
  if first:
    print_result(path)


def study(made: Study, start: Start, redraw: bool) -> None:
  """Runs a study: its report, then result.json.

  A finished one prints its result again, or with `redraw` does everything again.

  Raises:
    InputError: the finished one had another config.
  """
  path = Path(start.workdir) / 'result.json'
  with checkpoint.hold(start.workdir):
    if path.exists():
      check_unchanged(start, CHANGEABLE, '; use a new workdir')
    if redraw or not path.exists():
      words.say_place(start)
      about, started = _about(start.name, start.config), time.monotonic()
      result.write_json(Path(start.workdir) / 'config.json', about)
      metrics = made.report(start.workdir, result.report_folder(start.workdir))
      result.write_json(path, {**about, 'seconds': time.monotonic() - started, 'metrics': metrics})
  print_result(path)
  words.say_report(start.workdir)


def evaluate(run: Run) -> None:
  """Evaluates the best parameters on whole splits; writes and prints result-evaluate.json.

  Raises:
    InputError: nothing is held out.
  """
  metrics = run.evaluate()
  if not metrics:
    places = experiments.places(run.name)
    other = f'; name other data with --config.{places[0]}' if places else ''
    raise InputError(f'nothing is held out to evaluate on{other}')
  path = Path(run.workdir) / 'result-evaluate.json'
  result.write_json(
    path,
    {
      **_about(run.name, run.config),
      **_about_model(run.experiment),
      'steps': run.step,
      'seconds': checkpoint.read_meta(run.workdir)[1]['seconds'],
      'metrics': metrics,
    },
  )
  print_result(path)
  words.say_report(run.workdir)


def write_report(experiment: Experiment, params: Params, workdir: str) -> None:
  """Writes figures, samples and tables for people to workdir/report: the experiment's own, or the
  curves of the run."""
  out = result.report_folder(workdir)
  if experiment.report is not None:
    experiment.report(params, workdir, out)
  else:
    from rnn_research.analysis.reports.curve_report import write_run  # matplotlib is slow to load

    write_run(workdir, out)


def saved_devices(workdir: str) -> int:
  """Returns how many devices the run in `workdir` is split over; 0 where there is none to go on
  from."""
  path = Path(workdir) / 'config.json'
  if not checkpoint.has_checkpoint(workdir) or not path.exists():
    return 0
  return result.read_json(path).get('num_devices', 0)


def print_result(path: Path) -> None:
  """Prints a result file: a line per split, or per group of a study."""
  values = result.read_json(path)
  if 'steps' in values and not values['metrics']:
    show('nothing is held out to evaluate on')
  for split, metrics in (values['metrics'] | values.get('grid', {})).items():
    show(f'{split}: {result.figures(metrics)}')
  if 'best_member' in values:
    show(
      f'the best member, chosen on {values["headline"][0]}: {result.figures(values["best_member"])}'
    )
  after = f'after {values["steps"]} steps; ' if 'steps' in values else ''
  show(f'{after}all of it is in {path}')


def _of_grid(headline, members, workdir, best_step):
  """Returns what result.json says of a grid: whose parameters are the best, all members, and their
  spread."""
  if not members:
    return {}
  log = read_log(workdir)
  try:
    rows = grid.results(log, members, headline)
    best = grid.best_at(log, members, headline, best_step)
  except InputError as e:  # lines were lost; the parameters and what else is known of them were not
    warn(f'the result does not name the members of the grid: {e}')
    return {}
  return {'best_member': best, 'members': rows, 'grid': grid.summary(rows, headline)}


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
    'params': num_parameters(jax.eval_shape(experiment.init, jax.random.key(0))),
    'engine': experiment.engine,
    'headline': experiment.headline,
  }


def _keep_files(files, workdir):
  """Copies files into the workdir; where a run goes on, those that are there stay."""
  goes_on = checkpoint.has_checkpoint(workdir)
  for name, source in files.items():
    kept = Path(workdir) / name
    # A run that was given up before its first checkpoint may have left those of other weights.
    if not (goes_on and kept.exists()):
      kept.parent.mkdir(parents=True, exist_ok=True)
      part = kept.with_name(f'{name}.part')
      shutil.copyfile(expand(source), part)
      part.replace(kept)


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
