"""Trains, evaluates, samples and reports. `python launch.py --help` lists the flags, `--list` the
experiments."""

import sys

from absl import app, logging

import experiments
from rnn_research.errors import exit_code
from rnn_research.launching import first_words, flags, listing


def launch(argv: list[str]) -> None:
  """Does what the command line asks for; raises InputError or OSError with one sentence for
  people."""
  request = flags.read_request(argv)
  if request.list:
    flags.read_values(request, listing.LISTING, {})
    print(listing.cell_listing() if request.cells else listing.experiment_listing())
    return
  # With JAX, which is slow to load; a list needs none of it.
  from rnn_research.launching import config, manual, modes

  start = config.resolve(request)
  commands = experiments.commands(start.name)
  if request.help:
    print(manual.help_text(request, start, commands))
    return
  mode = modes.find(request, start, commands)
  values = flags.read_values(request, mode, commands)
  start = start._replace(config=flags.read_config(request, start.config))
  config.check(start)
  mode.run(start, **values)


def main(_):
  """Runs the command line of this process; returns its exit status."""
  logging.set_verbosity(logging.WARNING)
  sys.stdout.reconfigure(errors='replace')  # samples may hold what the terminal cannot say
  return exit_code(lambda: launch(sys.argv[1:]))


if __name__ == '__main__':
  first_words.say(sys.argv[1:])
  try:
    # absl's global flags stay empty: every parse has flags of its own
    app.run(main, argv=sys.argv[:1])
  except KeyboardInterrupt:  # while modules were loaded
    sys.exit(130)
