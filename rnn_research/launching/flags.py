"""The command line: flags to a request, with one clear sentence for every mistake.

No flag is defined on import, and none in absl's global `FLAGS`: every parse has its own
`FlagValues`.
"""

import datetime
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from rnn_research.errors import UsageError, did_you_mean
from rnn_research.experiment import Command
from rnn_research.training.checkpoint import has_checkpoint, is_finished
from rnn_research.training.config import ENGINE, flat, trains, update_from_json


class Request(NamedTuple):
  """What the command line asks for.

  Attributes:
    argv: the arguments, without the program's name.
    experiment: 'name:variant', or '' where only a workdir is given.
    workdir: '' if none is given.
    mode: 'train', 'evaluate', 'report' or a command of the experiment.
    list: whether to list experiments; with `cells`, cells.
    cells: see `list`.
    num_devices: 0 chooses.
    help: whether to print the flags.
  """

  argv: tuple[str, ...]
  experiment: str
  workdir: str
  mode: str
  list: bool
  cells: bool
  num_devices: int
  help: bool


_HELP = {
  'experiment': 'name or name:variant, see --list',
  'workdir': 'folder of the run; one with a checkpoint goes on from it',
  'mode': 'train, evaluate, report, or a command of the experiment such as sample',
  'list': 'list experiments and their variants',
  'cells': 'with --list: list cells',
  'num_devices': 'devices to split the batch over; 0 takes as many as divide it',
  'help': 'print this',
}
DEFAULT_EXPERIMENT = 'char_lm'
_MODES = ('train', 'evaluate', 'report')
_DEFAULTS = Request((), '', '', 'train', False, False, 0, False)


def read_request(argv: list[str]) -> Request:
  """Reads the flags that every experiment has; others are left for `read_config` and
  `read_command`.

  Raises:
    UsageError: a value of the wrong type.
  """
  values = _basic_flags()
  _parse(values, argv)
  return Request(tuple(argv), **{name: values[name].value for name in _HELP})


def read_config(request: Request, config: ConfigDict) -> ConfigDict:
  """Returns `config` with the overrides `--config.block.field=value`.

  Raises:
    UsageError: an unknown field or a value of the wrong type.
  """
  values = flags.FlagValues()
  try:
    config_flags.DEFINE_config_dict(
      'config', config, flag_values=values, sys_argv=['', *request.argv]
    )
    values(['', *request.argv], known_only=True)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    raise UsageError(
      _unknown_field(request.argv, config)
      or _wrong_type(request.argv, config)
      or str(e).replace('\n', ' ')
    ) from e
  return values['config'].value


def read_command(request: Request, commands: Mapping[str, Command]) -> dict[str, Any]:
  """Returns the values of the flags of the request's mode; every flag of the command line must now
  be known.

  Args:
    request: of `read_request`.
    commands: those of the experiment; train, evaluate and report have no flags of their own.

  Raises:
    UsageError: an unknown mode, a flag that this mode does not use, an unknown flag, or a value of
    the wrong type.
  """
  if request.mode not in (*_MODES, *commands):
    raise UsageError(f'mode is {request.mode!r}, expected one of {", ".join([*_MODES, *commands])}')
  own = commands[request.mode].flags if request.mode in commands else {}
  values = _basic_flags()
  for name, (default, text) in own.items():
    _DEFINE[type(default)](name, default, text, flag_values=values)
  configurable = request.mode in ('train', 'evaluate', *_reading(commands)) and not request.list
  for word in _parse(values, request.argv):
    field = word.split('=')[0]
    # The engine may always be another: a model may be used on a machine that lacks the one it was
    # trained with.
    if (
      word.startswith('--config.')
      and not configurable
      and (request.list or field != f'--config.{ENGINE}')
    ):
      raise UsageError(
        f'{field} is not used by {"--list" if request.list else f"--mode={request.mode}"}'
      )
    if not word.startswith('--config.'):
      raise UsageError(_unexpected(word, request.mode, own, commands))
  for name, needed in (('num_devices', request.mode == 'train'), ('cells', request.list)):
    if values[name].present and not needed:
      raise UsageError(f'--{name} belongs to {"--list" if name == "cells" else "--mode=train"}')
  return {name: values[name].value for name in own}


def resolve(
  request: Request,
  split_name: Callable[[str], tuple[str, str]],
  get_config: Callable[[str], ConfigDict],
) -> tuple[str, str, ConfigDict]:
  """Returns 'experiment:variant', the workdir, and the config before overrides: flag before workdir
  before default.

  Args:
    request: of `read_request`.
    split_name: `'name[:variant]' -> (name, variant)`.
    get_config: `'name:variant' -> ConfigDict`.

  Raises:
    UsageError: the workdir belongs to another experiment, or a mode that needs a trained one got
    none.
  """
  name = ':'.join(split_name(request.experiment)) if request.experiment else ''
  begun = request.workdir and (Path(request.workdir) / 'config.json').exists()
  # What a run that failed before its first checkpoint left there is no reason to refuse another
  # start.
  if begun and (
    request.mode != 'train'
    or not request.experiment
    or has_checkpoint(request.workdir)
    or is_finished(request.workdir)
  ):
    trained, config = load_workdir(request.workdir, get_config)
    if name and name != trained:
      raise UsageError(
        f'--experiment={name}, but {request.workdir} belongs to {trained}; use a new workdir'
      )
    return trained, request.workdir, config
  # The report of a study needs no earlier run: it is the run.
  drawn = request.mode == 'report' and name and not trains(get_config(name))
  if request.mode != 'train' and not drawn:
    raise UsageError(
      f'--mode={request.mode} needs --workdir, a folder with a trained run'
      + (f'; {request.workdir} has no config.json' if request.workdir else '')
    )
  name = name or ':'.join(split_name(DEFAULT_EXPERIMENT))
  time = datetime.datetime.now().strftime('%Y%m%d-%H%M%S')
  return name, request.workdir or f'runs/{name.replace(":", "-")}-{time}', get_config(name)


def load_workdir(workdir: str, get_config: Callable[[str], ConfigDict]) -> tuple[str, ConfigDict]:
  """Returns 'experiment:variant' and the config of the run in a workdir; raises UsageError where
  there is none."""
  path = Path(workdir) / 'config.json'
  try:
    saved = json.loads(path.read_text('utf-8'))
    return saved['experiment'], update_from_json(
      get_config(saved['experiment']).unlock(), saved['config']
    ).lock()
  except (OSError, KeyError, TypeError, AttributeError, ValueError) as e:
    raise UsageError(f'{path} is not the config of a run ({type(e).__name__}: {e})') from e


def check_study(request: Request, name: str) -> None:
  """Raises UsageError where a mode or a flag needs a model, which an experiment without training
  does not have."""
  if request.mode != 'train':
    raise UsageError(
      f'--mode={request.mode} needs a trained model, and {name} trains none: start it without '
      '--mode'
    )
  if request.num_devices:
    raise UsageError(f'--num_devices is not used by {name}, which trains no model')


def help_text(name: str, commands: Mapping[str, Command], config: ConfigDict) -> str:
  """Returns the flags that every run has, those of an experiment's commands, and its config, one
  line each."""
  line = lambda flag, text: f'  --{flag:28} {text}'
  lines = [
    'python launch.py [--flag=value ...]',
    *(line(flag, text) for flag, text in _HELP.items()),
    line('config.block.field=value', "overrides a field of the experiment's config"),
  ]
  for mode, command in commands.items():
    lines += [f'\n--mode={mode}, of {name}: {command.help}']
    lines += [line(f'{flag}={default}', text) for flag, (default, text) in command.flags.items()]
  lines += [
    f'\nThe config of {name}',
    *(f'  --config.{field}={value!r}' for field, value in flat(config).items()),
  ]
  return '\n'.join(lines)


_DEFINE = {
  str: flags.DEFINE_string,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_bool,
}


def _basic_flags():
  values = flags.FlagValues()
  for name, text in _HELP.items():
    default = getattr(_DEFAULTS, name)
    _DEFINE[type(default)](name, default, text, flag_values=values)
  return values


def _parse(values, argv):
  """Parses the flags of `values` and returns the words that are none of theirs."""
  try:
    return values(['', *argv], known_only=True)[1:]
  except flags.Error as e:
    raise UsageError(str(e).replace('\n', ' ')) from e


def _reading(commands):
  return [mode for mode, command in commands.items() if command.reads_data]


def _unexpected(word, mode, own, commands):
  """Returns what is wrong with a word of the command line that is no flag of the mode."""
  if not word.startswith('-'):
    return f'{word!r} is no flag; write --name=value'
  name = word.lstrip('-').split('=')[0]
  owners = [other for other, command in commands.items() if name in command.flags]
  if owners:
    return f'--{name} is not used by --mode={mode}, it belongs to --mode={" or ".join(owners)}'
  hint = did_you_mean(name, [*_HELP, *own], lambda near: f'--{near}')
  return f'unknown flag --{name}{hint or ", see --help"}'


_KINDS = {int: 'an integer', float: 'a number'}


def _wrong_type(argv, config):
  """Returns what is wrong with the first --config flag whose value is no number, '' where all of
  them are."""
  for word in (word for word in argv if word.startswith('--config.')):
    name, _, value = word.removeprefix('--config.').partition('=')
    kind = type(functools.reduce(lambda block, part: block[part], name.split('.'), config))
    try:
      _ = kind(value) if kind in _KINDS else None
    except ValueError:
      return f'--config.{name} is {value!r}, expected {_KINDS[kind]}'
  return ''


def _unknown_field(argv, config):
  """Returns what is wrong with the first --config flag that names no field, '' where all of them
  do."""
  names = [word.split('=')[0].removeprefix('--') for word in argv]
  for name in (name for name in names if name.startswith('config.')):
    block, path = config, name.removeprefix('config.').split('.')
    for i, part in enumerate(path):
      if not isinstance(block, ConfigDict) or part not in block:
        fields = list(block) if isinstance(block, ConfigDict) else []
        hint = did_you_mean(
          part, fields, lambda near, above=path[:i]: f'--config.{".".join([*above, near])}'
        )
        known = ', '.join(fields) or 'none'
        return f'--{name}: the config has no field {part!r} there{hint} (fields: {known})'
      block = block[part]
  return ''
