"""Modes of a trained captioner: captions of photos."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rnn_research.analysis.reports.tiles import require_picture, save_picture
from rnn_research.data.codec import TextCodec
from rnn_research.data.files import expand, open_output, require_kept
from rnn_research.data.pictures import in_memory, list_pictures, picture_files, read_picture, unread
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import chosen_way
from rnn_research.errors import InputError, require, require_seed
from rnn_research.experiment import Command, flags_of
from rnn_research.models.captioners import looks
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.batches import EVALUATED
from rnn_research.tasks.captioning.describer import Caption, describer
from rnn_research.tasks.captioning.sight import Sight
from rnn_research.training.progress import tell, warn
from rnn_research.typing import Params

_BEAM = Beam(3)

Photos = str | os.PathLike | np.ndarray | Image.Image


class Described(NamedTuple):
  """A photo and what was written of it.

  Attributes:
    name: of its file.
    picture: [S, S, 3] uint8 RGB, as the model saw it.
    caption: see `describer.Caption`.
  """

  name: str
  picture: np.ndarray
  caption: Caption

  def save_attention(self, path: str | os.PathLike) -> None:
    """Writes a .png that shows for every word where the model looked.

    Raises:
      InputError: the model has no attention, or the file cannot be written.
    """
    if not self.caption.weights.size:
      raise InputError('the model has no attention, expected one that looks at places')
    require_picture(str(path), 'path', '.png')
    _save_attention(self, path, 'path')


def commands_of(
  model: ConditionalModel, codec: TextCodec, max_length: int, sight: Sight
) -> dict[str, Callable]:
  """Returns what a trained captioner can do: command -> `(params, ..) -> value`."""
  make = functools.cache(lambda how: describer(model, codec, how, max_length, sight.shape))
  return {
    'captions': functools.partial(captions, sight, make),
    'caption': functools.partial(caption, sight, make),
  }


def captions(
  sight: Sight,
  make: Callable[..., Callable],
  params: Params,
  path: Photos,
  beam_size: int = _BEAM.size,
  length_penalty: float = _BEAM.length_penalty,
  temperature: float = 0.0,
  seed: int = 0,
) -> Iterator[Described]:
  """Returns an iterator over the photos of a folder, or over one photo, with captions.

  A photo that cannot be read is skipped, with a warning at the end.

  Args:
    sight: how pictures are seen.
    make: `(how) -> describe`, see `describer`.
    params: of the model.
    path: of the photo or the folder; or a photo, see `pictures.in_memory`.
    beam_size: hypotheses of the beam search; 1 is greedy.
    length_penalty: alpha of Wu et al. 2016.
    temperature: above 0 captions are drawn, not searched for.
    seed: of the drawing.

  Raises:
    FileNotFoundError: there is no such photo or folder.
    InputError: a number out of range, or no photo that can be read.
  """
  how = chosen_way(Beam(beam_size, length_penalty), _BEAM, temperature)
  require_seed('seed', seed)
  describe = make(how)
  if isinstance(path, str | os.PathLike):
    found = list_pictures(str(path), 'input')
  else:
    found = in_memory(path)
  return _described(sight, describe, params, path, found, jax.random.key(seed))


def _described(sight, describe, params, path, found, key):
  skipped = []
  for start in range(0, len(found.names), EVALUATED):
    names, pictures = [], []
    for name in found.names[start : start + EVALUATED]:
      try:
        pictures.append(read_picture(found.read(name), name, sight.size))
        names.append(name)
      except InputError as error:
        skipped.append(str(error))
    if names:
      inputs = _seen(sight, np.stack(pictures))
      texts = describe(params, inputs, jax.random.fold_in(key, start))
      yield from map(Described, names, pictures, texts)
  if len(skipped) == len(found.names):
    raise InputError(f'input: {path} has no photo that can be read: {skipped[0]}')
  for why in skipped:
    warn(f'skipped: {why}')


def _seen(sight, pictures):
  """Returns the inputs of pictures, of which few shapes are compiled for."""
  padded = np.resize(pictures, (1 if len(pictures) == 1 else EVALUATED, *pictures.shape[1:]))
  seen = sight.extract(padded)
  return {name: np.asarray(a)[: len(pictures)] for name, a in seen.items()}


def caption(
  sight: Sight,
  make: Callable[..., Callable],
  params: Params,
  path: Photos,
  **options,
) -> list[str]:
  """Returns the captions of the photos of a folder, in the order of their names, or of one photo.

  A photo that is skipped has none; `captions` tells the names, and what may be given.
  """
  return [one.caption.text for one in captions(sight, make, params, path, **options)]


def caption_files(run, input: str, output: str, attention_map: str, **options) -> None:
  """Writes a line per photo: the name, in which tabs and ends of lines are escaped, and the
  caption; of a single photo the caption alone.

  Raises:
    InputError: what `captions` refuses, or a file that cannot be written.
  """
  require('input', input, bool(input), 'a photo or a folder of photos')
  names, read = list(list_pictures(input).names), picture_files(input)
  one = names == [expand(input).name]  # an archive may hold several, too
  if attention_map:
    _check_apart(names, input, output, attention_map, one)
    _check_map(run, names, read, attention_map, one)
  require_kept('output', [output], 'input', read)
  # What is not read is listed before an output may lie there, too.
  described_photos, others, count = run.captions(input, **options), unread(input), 0
  with open_output(output, 'output') as out:
    for described in described_photos:
      text = described.caption.text
      out.write(f'{text}\n' if one else f'{_cell(described.name)}\t{text}\n')
      out.flush()
      count += 1
      if attention_map:
        _draw(described, attention_map, one)
  if others:
    warn(others)
  if not one:
    tell(f'{count} photos captioned')


def _cell(name):
  """Returns the name of a file as a cell of a table with tabs."""
  return name.translate({ord(sign): repr(sign)[1:-1] for sign in '\\\t\n\r'})


def _check_apart(names, input, output, path, one):
  real = lambda file: os.path.realpath(expand(file))
  apart = one or real(path) != real(input)
  require('attention_map', path, apart, 'another folder than that of input')
  maps = [path, *(_map_file(path, name, one) for name in names)]
  kept = real(output) not in map(real, maps)
  require('output', output, kept, 'another file than that of attention_map')


def _check_map(run, names, read, path, one):
  decoder = run.config.model.decoder
  require(
    'attention_map',
    path,
    looks(decoder),
    f"'' for a run of {decoder}, which has no attention",
  )
  maps = (_map_file(path, name, one) for name in names)
  require_kept('attention_map', maps, 'input', read)
  if one:
    require_picture(path, 'attention_map', '.png')
  else:
    folder = not path.lower().endswith('.png')
    require('attention_map', path, folder, 'a folder, since there may be several photos')
    require_picture(str(_map_file(path, 'any', one)), 'attention_map', '.png')


def _draw(described: Described, path: str, one: bool) -> None:
  file = _map_file(path, described.name, one)
  _save_attention(described, file, 'attention_map')
  tell(f'attention: {file}')


def _save_attention(described, path, flag):
  from rnn_research.tasks.captioning.attention_figure import Looked, attention_figure  # slow

  looked = Looked(described.picture, described.caption)
  figure = attention_figure([looked], described.caption.text).figure
  save_picture(path, flag, lambda file: figure.savefig(file, dpi=100))


def _map_file(path: str, photo: str, one: bool) -> Path:
  """Returns the place of a photo's map. In a folder each has another, all in the folder itself: a
  name of an archive may lead anywhere."""
  name = photo.replace('%', '%25').replace('/', '%2F')
  return expand(path) if one else expand(path) / f'{name}.png'


COMMANDS = {
  'caption': Command(
    'writes captions of a photo, or of a folder of photos',
    {
      'input': ('', 'photo or folder of photos'),
      'output': ('-', 'file for the captions; - is standard output'),
      'attention_map': ('', 'picture that shows where the model looked; of a folder, a folder'),
      **flags_of(
        captions,
        beam_size='hypotheses of the beam search; 1 is greedy',
        length_penalty='alpha of Wu et al. 2016: 0 prefers short captions',
        temperature='above 0 captions are drawn, not searched for',
        seed='of the drawing',
      ),
    },
    caption_files,
    example='--input=PHOTO',
  )
}
