"""The command line: flags to a request, with one clear sentence for every mistake.

No flag is defined on import, and none in absl's global `FLAGS`: every parse has its own
`FlagValues`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from rnn_research.errors import UsageError, did_you_mean

if TYPE_CHECKING:
  from rnn_research.experiment import Command


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


class Mode(NamedTuple):
  """A mode of the command line: what it takes from there, and what it does.

  Attributes:
    run: `(start, **values of flags) -> None`, see `config.Start`.
    flags: of its own: name -> (default value, whose type is the flag's type; one line of help).
    config: whether fields of the config may be given; those of `COMPUTING` always may.
    num_devices: whether that flag may be given.
  """

  run: Callable[..., None]
  flags: Mapping[str, tuple[Any, str]] = {}
  config: bool = True
  num_devices: bool = False


# What computes, not what is computed: a model may be used on a machine that lacks the one it was
# trained with.
ENGINE = 'model.engine'
COMPUTING = ENGINE, 'model.dtype'  # of a trained model
OF_EVERY_RUN = {
  'experiment': 'name or name:variant, see --list',
  'workdir': 'folder of the run; one with a checkpoint goes on from it',
  'mode': 'train, evaluate, report, or a command of the experiment such as sample',
  'list': 'list experiments and their variants',
  'cells': 'with --list: list cells',
  'num_devices': 'devices to split the batch over; 0 takes as many as divide it',
  'help': 'print this',
}
NOTHING = Request((), '', '', 'train', False, False, 0, False)  # is asked for


def read_request(argv: list[str]) -> Request:
  """Reads the flags that every experiment has, flag files included; others are left for
  `read_config` and `read_values`.

  Raises:
    UsageError: a value of the wrong type, or a flag file that cannot be read.
  """
  values = _basic_flags()
  argv = ['--help' if word == '-h' else word for word in argv]
  try:
    argv = values.read_flags_from_files(argv, force_gnu=True)
  except flags.CantOpenFlagFileError as e:
    cause: Any = e.__context__  # the OSError
    raise UsageError(f'flagfile: {cause.filename} cannot be read ({cause.strerror})') from e
  except UnicodeDecodeError as e:
    raise UsageError(f'flagfile: it is not UTF-8 ({e}), expected a flag per line') from e
  except flags.Error as e:
    raise UsageError(str(e).replace('\n', ' ')) from e
  _parse(values, argv)
  return Request(tuple(argv), **{name: values[name].value for name in OF_EVERY_RUN})


def read_config(request: Request, config: ConfigDict) -> ConfigDict:
  """Returns `config` with the overrides `--config.block.field=value`.

  Raises:
    UsageError: an unknown field or a value of the wrong type.
  """
  complaint = _no_field(request.argv, config)
  if complaint:
    raise UsageError(complaint)
  values = flags.FlagValues()
  try:
    config_flags.DEFINE_config_dict(
      'config', config, flag_values=values, sys_argv=['', *request.argv]
    )
    values(['', *request.argv], known_only=True)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError, SyntaxError) as e:
    raise UsageError(_wrong_type(request.argv, config) or str(e).replace('\n', ' ')) from e
  return values['config'].value


def read_values(request: Request, mode: Mode, commands: Mapping[str, Command]) -> dict[str, Any]:
  """Returns the values of the mode's own flags; every flag of the command line must now be known.

  Args:
    request: of `read_request`.
    mode: that of the request, or `LISTING`.
    commands: of the experiment: they own the flags that another mode has.

  Raises:
    UsageError: a flag that this mode does not use, an unknown flag, or a value of the wrong type.
  """
  this = '--list' if request.list else f'--mode={request.mode}'
  values = _basic_flags()
  for name, (default, text) in mode.flags.items():
    _DEFINE[type(default)](name, default, text, flag_values=values)
  for word in _parse(values, request.argv):
    field = word.split('=')[0]
    if not word.startswith('--config.'):
      raise UsageError(_unexpected(word, this, mode.flags, commands))
    if not mode.config and (request.list or field.removeprefix('--config.') not in COMPUTING):
      raise UsageError(f'{field} is not used by {this}')
  if values['num_devices'].present and not mode.num_devices:
    raise UsageError('--num_devices belongs to --mode=train')
  if values['cells'].present and not request.list:
    raise UsageError('--cells belongs to --list')
  return {name: values[name].value for name in mode.flags}


_DEFINE: dict[type, Callable] = {
  str: flags.DEFINE_string,
  int: flags.DEFINE_integer,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_bool,
}


def _basic_flags():
  values = flags.FlagValues()
  for name, text in OF_EVERY_RUN.items():
    default = getattr(NOTHING, name)
    _DEFINE[type(default)](name, default, text, flag_values=values)
  return values


def _parse(values, argv):
  """Parses the flags of `values` and returns the words that are none of theirs."""
  try:
    return values(['', *argv], known_only=True)[1:]
  except (flags.Error, ValueError) as e:
    raise UsageError(_no_value(values, argv) or str(e).replace('\n', ' ')) from e


def _no_value(values, argv):
  """Returns what is wrong with the first flag whose value is of another type, '' where none is."""
  for word in (word for word in argv if word.startswith('-')):
    name, equals, text = word.lstrip('-').partition('=')
    try:
      _ = values[name].parser.parse(text) if equals and name in values else None
    except ValueError:
      return f'--{name} is {text!r}, expected {_KINDS[type(values[name].default)]}'
  return ''


def _unexpected(word, this, own, commands):
  """Returns what is wrong with a word of the command line that is no flag of the mode."""
  if not word.startswith('-'):
    return f'{word!r} is no flag; write --name=value'
  name = word.lstrip('-').split('=')[0]
  owners = [other for other, command in commands.items() if name in command.flags]
  if owners:
    return f'--{name} is not used by {this}, it belongs to --mode={" or ".join(owners)}'
  hint = did_you_mean(name, [*OF_EVERY_RUN, *own], lambda near: f'--{near}')
  return f'unknown flag --{name}{hint or ", see --help"}'


_KINDS = {int: 'an integer', float: 'a number', bool: 'true or false'}


def _wrong_type(argv, config):
  """Returns what is wrong with the first --config flag whose value is no number, '' where all of
  them are."""
  for word in (word for word in argv if word.startswith('--config.')):
    name, _, value = word.removeprefix('--config.').partition('=')
    kind = type(functools.reduce(lambda block, part: block[part], name.split('.'), config))
    try:
      _ = kind(value) if kind in (int, float) else None
    except ValueError:
      return f'--config.{name} is {value!r}, expected {_KINDS[kind]}'
  return ''


def _no_field(argv, config):
  """Returns what is wrong with the first --config flag that names no field, '' where all of them
  do."""
  names = [word.split('=')[0].lstrip('-') for word in argv if word.startswith('-')]
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
    if isinstance(block, ConfigDict):
      known = ', '.join(f'--{name}.{field}' for field in block)
      return f'--{name} is a block of fields, expected one of them (there are: {known})'
  return ''
