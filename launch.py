"""Trains, evaluates, samples and reports. `python launch.py --help` lists the flags, `--list` the experiments."""

import sys

from absl import app, logging

import experiments
from rnn_research.training import backend, checkpoint, flags, runs
from rnn_research.training import config as config_lib


def launch(argv: list[str]) -> None:
  """Does what the command line asks for; raises ValueError or OSError with one sentence for people."""
  request = flags.read_request(argv)
  if request.help or request.list:
    print(flags.help_text() if request.help else experiments.cell_listing() if request.cells else experiments.listing())
    return
  name, workdir, base = flags.resolve(request, experiments.split_name, experiments.get_config)
  saved = config_lib.copy(base)
  config = flags.read_config(request, base)
  config_lib.check_ranges(config)
  training = request.mode == 'train'
  resumed = runs.has_checkpoint(workdir)
  if resumed or not training:
    config_lib.check_unchanged(saved, config, workdir, training)
  backend.configure(config.train.batch_size if training else 1, request.num_devices)
  backend.initialize_distributed()
  assets = checkpoint.read_meta(workdir)[1]['assets'] if resumed or not training else None
  experiment = experiments.build(name, config, assets)
  values = flags.read_command(request, experiment.commands)
  if training:
    runs.train(experiment, name, config, workdir, request.num_devices)
  elif request.mode == 'evaluate':
    runs.evaluate(experiment, name, config, workdir)
  elif request.mode == 'report':
    runs.report(experiment, workdir)
  else:
    experiment.commands[request.mode].run(runs.restore(experiment, workdir)[1], **values)


def main(_):
  logging.set_verbosity(logging.WARNING)
  try:
    launch(sys.argv[1:])
  except (ValueError, OSError, FloatingPointError) as error:
    if not flags.is_for_people(error):
      raise
    print(f'error: {error}', file=sys.stderr)
    return 2 if isinstance(error, flags.UsageError) else 1


if __name__ == '__main__':
  app.run(main, argv=sys.argv[:1])  # absl's global flags stay empty: every parse has flags of its own
