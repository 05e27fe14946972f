"""What `--help` prints."""

from collections.abc import Mapping
from typing import Any

from rnn_research.experiment import Command
from rnn_research.launching.flags import OF_EVERY_RUN, Request
from rnn_research.terminal import fitted, table

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


def help_text(
  request: Request, name: str, commands: Mapping[str, Command], fields: Mapping[str, Any]
) -> str:
  """Returns what people want first, the flags that every run has, those of an experiment's
  commands, and the fields of its config.

  Args:
    request: names an experiment or a workdir, or neither.
    name: 'experiment:variant' of it.
    commands: of the experiment.
    fields: of the config, by their full names.
  """
  asked = request.experiment or request.workdir
  trains = any(field.startswith('train.') for field in fields)
  blocks = [
    _commands(_of_experiment(name, commands, trains) if asked else _WANTED),
    'python launch.py [--flag=value ...]\n' + _flags({**OF_EVERY_RUN, **_FIELD}),
    *(_mode(mode, name, command) for mode, command in commands.items()),
    '\n'.join(
      [
        f'The config of {name}',
        *(fitted(f'  --config.{field}={value!r}') for field, value in fields.items()),
      ]
    ),
  ]
  return '\n\n'.join(blocks)


def _of_experiment(name, commands, trains):
  return {
    f'--experiment={name}': 'starts a run',
    **(_OF_TRAINING if trains else _OF_STUDY),
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
