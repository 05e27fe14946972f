"""Trains, evaluates, samples and reports. `python launch.py --help` lists the flags, `--list` the
experiments."""

import sys

from absl import app, logging

import experiments
from rnn_research import errors
from rnn_research.launching import flags, runs
from rnn_research.training import backend, checkpoint
from rnn_research.training import config as config_lib


def launch(argv: list[str]) -> None:
  """Does what the command line asks for; raises InputError or OSError with one sentence for
  people."""
  request = flags.read_request(argv)
  if request.list:
    flags.read_command(request, {})
    print(experiments.cell_listing() if request.cells else experiments.listing())
    return
  name, workdir, base = flags.resolve(request, experiments.split_name, experiments.get_config)
  commands = experiments.commands(name)
  if request.help:
    print(flags.help_text(name, commands, base))
    return
  redraw = not config_lib.trains(base) and request.mode == 'report'
  request = request._replace(mode='train') if redraw else request  # a study is its report
  values = flags.read_command(request, commands)
  config = flags.read_config(request, config_lib.copy(base))
  config_lib.check_ranges(config)
  if not config_lib.trains(config):
    flags.check_study(request, name)
    runs.study(experiments.build(name, config), name, base, config, workdir, redraw)
    return
  training, resumed = request.mode == 'train', checkpoint.has_checkpoint(workdir)
  if backend.is_distributed() and not (training and request.workdir):
    raise errors.UsageError(
      'several processes run only --mode=train, in the one --workdir that all of them name'
    )
  if resumed or not training:
    config_lib.check_unchanged(base, config, workdir, training)
  if training:
    backend.configure(
      config_lib.rows_per_step(config),
      request.num_devices or runs.saved_devices(workdir),
      config_lib.kept_bytes(config),
    )
  else:
    backend.configure(1)
  backend.initialize_distributed()
  experiment = experiments.build(
    name, config, runs.assets(workdir) if resumed or not training else None
  )
  if training:
    runs.train(experiment, name, config, workdir, request.num_devices)
  elif request.mode == 'evaluate':
    runs.evaluate(experiment, name, config, workdir)
  elif request.mode == 'report':
    runs.report(experiment, workdir)
  else:
    experiment.commands[request.mode](runs.restore(experiment, workdir)[1], **values)


def main(_):
  logging.set_verbosity(logging.WARNING)
  sys.stdout.reconfigure(errors='replace')  # samples may hold what the terminal cannot say
  return errors.exit_code(lambda: launch(sys.argv[1:]))


if __name__ == '__main__':
  app.run(
    main, argv=sys.argv[:1]
  )  # absl's global flags stay empty: every parse has flags of its own
