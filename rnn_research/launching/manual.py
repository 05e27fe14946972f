"""What `--help` prints."""

from collections.abc import Mapping

from rnn_research.experiment import Command
from rnn_research.launching.config import Start
from rnn_research.launching.flags import OF_EVERY_RUN, Request
from rnn_research.terminal import fitted, table
from rnn_research.training.config import flat, trains

_WANTED = {
  '': 'learns to write',
  '--config.data.path=FILE': 'learns from a text of yours',
  '--workdir=DIR': 'goes on, or prints the result',
  '--workdir=DIR --mode=sample': 'writes',
  '--list': 'lists what else there is',
}
_FIELD = {'config.block.field=value': "overrides a field of the experiment's config"}
_OF_STUDY = {'--workdir=DIR': 'prints its result again'}
_OF_TRAINING = {
  '--workdir=DIR': _WANTED['--workdir=DIR'],
  '--workdir=DIR --mode=evaluate': 'measures it on whole splits',
}


def help_text(request: Request, start: Start, commands: Mapping[str, Command]) -> str:
  """Returns what people want first, the flags that every run has, those of an experiment's
  commands, and the fields of its config.

  Args:
    request: names an experiment or a workdir, or neither.
    start: what it resolves to.
    commands: of the experiment.
  """
  name, asked = start.name, request.experiment or request.workdir
  blocks = [
    _commands(_of_experiment(name, commands, trains(start.saved)) if asked else _WANTED),
    'python launch.py [--flag=value ...]\n' + _flags({**OF_EVERY_RUN, **_FIELD}),
    *(_mode(mode, name, command) for mode, command in commands.items()),
    '\n'.join(
      [
        f'The config of {name}',
        *(fitted(f'  --config.{field}={value!r}') for field, value in flat(start.saved).items()),
      ]
    ),
  ]
  return '\n\n'.join(blocks)


def _of_experiment(name, commands, is_training):
  return {
    f'--experiment={name}': 'starts a run',
    **(_OF_TRAINING if is_training else _OF_STUDY),
    **{f'--workdir=DIR --mode={mode}': command.help for mode, command in commands.items()},
  }


def _mode(mode, name, command):
  lines = [
    fitted(f'--mode={mode}, of {name}: {command.help}'),
    _flags({f'{flag}={default}': text for flag, (default, text) in command.flags.items()}),
  ]
  example = f'  for example --workdir=DIR --mode={mode} {command.example}'
  return '\n'.join([*lines, fitted(example)] if command.example else lines)


def _commands(flags):
  return table((f'  python launch.py {words}'.rstrip(), text) for words, text in flags.items())


def _flags(texts):
  return table((f'  --{flag}', text) for flag, text in texts.items())
