"""Modes of a trained glimpse network: what it sees of pictures."""

from rnn_research.analysis.reports.tiles import require_picture, save_picture, write_picture
from rnn_research.data.files import require_kept
from rnn_research.data.pictures import picture_files
from rnn_research.errors import require
from rnn_research.experiment import Command
from rnn_research.tasks.glimpse.film import frames
from rnn_research.tasks.glimpse.looking import answered, chance
from rnn_research.tasks.picture_warnings import warn_of_unread
from rnn_research.training.progress import tell

_MOST = 24  # pictures on a sheet


def look_files(run, input: str, seed: int, output: str) -> None:
  """Prints what each picture is taken for, and writes where the network looked, .png or .gif.

  Raises:
    InputError: what `look` refuses, or a file that cannot be written.
  """
  kind = run.config.model.kind
  require('model.kind', kind, kind == 'glimpses', 'glimpses: others see all at once')
  require('input', input, bool(input), 'a picture or a folder of pictures')
  require_picture(output, 'output', '.png', '.gif')
  require_kept('output', [output], 'input', picture_files(input))
  looks = run.look(input, seed=seed)
  for one in looks:
    print(f'{one.name}\t{answered(one)}\t{chance(one):.3g}')
  if output.lower().endswith('.gif'):
    write_picture(output, frames(looks[:_MOST]), seconds=0.6)
  else:
    _draw(looks[:_MOST], output)
  warn_of_unread(input)
  left_out = f', the first {_MOST} of {len(looks)} pictures' if len(looks) > _MOST else ''
  tell(f'written: {output}{left_out}')


def _draw(looks, output):
  from rnn_research.tasks.glimpse.path_figure import path_figure  # matplotlib is slow to load

  figure = path_figure(
    looks, [one.name for one in looks], 'Pictures by the names of their files.'
  ).figure
  save_picture(output, 'output', lambda file: figure.savefig(file, dpi=100))


COMMANDS = {
  'look': Command(
    'names pictures, and shows where it looked',
    {
      'input': ('', 'picture or folder of pictures'),
      'seed': (0, 'of where it looks'),
      'output': ('glimpses.png', 'picture of the path; .gif shows it glimpse by glimpse'),
    },
    look_files,
    example='--input=PICTURE --output=glimpses.gif',
  )
}
