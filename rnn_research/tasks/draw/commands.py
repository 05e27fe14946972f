"""Modes of a trained DRAW: new images, and images of which a half is drawn."""

import numpy as np

from rnn_research.analysis.reports.tiles import require_picture, write_picture
from rnn_research.data.files import require_kept
from rnn_research.data.image_set import read_images
from rnn_research.data.pictures import picture_files
from rnn_research.errors import require
from rnn_research.experiment import Command
from rnn_research.tasks.draw import drawing
from rnn_research.tasks.draw.frames import frames, sheet
from rnn_research.tasks.picture_warnings import warn_of_unread
from rnn_research.training.progress import tell


def draw_files(run, count: int, seed: int, output: str) -> None:
  """Writes a sheet of new images: .png when they are finished, .gif while they are drawn.

  Raises:
    InputError: what `draw` refuses, or a file that cannot be written.
  """
  require_picture(output, 'output', '.png', '.gif')
  drawn = run.draw(count=count, seed=seed)
  film = output.lower().endswith('.gif')
  write_picture(output, frames(drawn) if film else [sheet(drawn.canvases[-1])])
  tell(f'written: {output}')


def complete_files(run, input: str, seen: str, rounds: int, seed: int, output: str) -> None:
  """Writes a sheet of pictures, a half of each drawn anew.

  Raises:
    InputError: what `complete` refuses, a picture that cannot be read, or a file that cannot be
      written.
  """
  require('input', input, bool(input), 'a picture or a folder of pictures')
  require_picture(output, 'output', '.png')
  require_kept('output', [output], 'input', picture_files(input))
  channels = run.experiment.assets['channels']
  canvas = run.config.data.canvas
  side = canvas or run.config.data.size
  images = np.stack([*read_images(input, side, channels, bool(canvas)).values()])
  completed = run.complete(images, seen=seen, rounds=rounds, seed=seed)
  write_picture(output, [sheet(completed)])
  warn_of_unread(input)
  tell(f'written: {output}')


COMMANDS = {
  'draw': Command(
    'draws new images',
    {
      'count': (64, 'images'),
      'seed': (0, 'of the drawing'),
      'output': ('drawings.png', 'sheet of images; .gif shows them after every step'),
    },
    draw_files,
    example='--output=drawings.gif',
  ),
  'complete': Command(
    'draws the other half of pictures',
    {
      'input': ('', 'picture or folder of pictures'),
      'seen': ('top', 'half that is kept: top, bottom, left or right'),
      'rounds': (drawing.ROUNDS, 'times that the other half is drawn, each from all of the last'),
      'seed': (0, 'of the drawing'),
      'output': ('completed.png', 'sheet of images'),
    },
    complete_files,
    example='--input=PICTURE',
  ),
}
