"""The section of a report that says whether a captioner looks at what it names, or depends on
it."""

from collections.abc import Collection, Mapping, Sequence

import jax
import numpy as np

from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import markdown
from rnn_research.data.codec import PAD, TextCodec
from rnn_research.data.pictures import meant
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.batches import (
  CaptionIds,
  Seen,
  captioned,
  encode,
  evaluation_batches,
  some,
)
from rnn_research.tasks.captioning.boxes import Phrase, read_boxes
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.objective import taught
from rnn_research.tasks.captioning.pointing import (
  WIDTHS,
  PointingScores,
  best_width,
  pointed,
  pointing_scores,
  smoothed,
)
from rnn_research.tasks.captioning.saliency import saliency
from rnn_research.typing import Params

_ABOUT = (
  'Hits: the weights of the noun are largest in a box; centre: the middle of the photo is in one; '
  'gain: hits less centre, with a bootstrap over photos. Mass: how much of the weights lies in the '
  'boxes; area: how much of even ones would. Gradients: the same of the places of the '
  "encoder's maps that the probability of the noun depends on, gradient times input."
)
_SMOOTHED = (
  f' Smoothed: by a Gaussian of {{:g}} of the side of a photo, of {len(WIDTHS)} widths the one '
  'with most hits in references of the validation split (0: none helps). Weights that say little '
  'are then largest in the middle.'
)
_NAMES = ('nouns', 'photos', 'hits', 'centre', 'gain', '95 % interval', 'mass', 'area')


def pointing_section(
  path: str,
  names: Collection[str],
  pictures: Seen,
  max_length: int,
  codec: TextCodec,
  model: ConditionalModel,
  params: Params,
  found: Sequence[Caption],
  others: Seen | None = None,
) -> Section:
  """Returns the section.

  Args:
    path: of the boxes, see `boxes.read_boxes`.
    names: of the pictures of all splits, one of which a name of the file means, see
      `pictures.meant`.
    pictures: of a split.
    max_length: of the references that count.
    codec: of the captions.
    model: the model.
    params: its parameters.
    found: a caption of each picture, with weights where the model looks.
    others: pictures of another split, by whose references is chosen how far weights are to be
      smoothed; None where there is none.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it is not one of boxes.
  """
  boxes = read_boxes(path)
  boxes = {name: boxes[asked] for asked, name in meant(boxes, names).items()}
  about = f'The nouns that are heads of phrases with boxes, in {path}. {_ABOUT}'
  pictures, phrases, numbers = _named(boxes, pictures)
  written = [found[number] for number in numbers]
  words, looked = [one.words for one in written], {}
  if found[0].weights.size:
    taken = max_length, codec, model, params, found[0].weights.shape[1:]
    looked = {
      'weights, written': _rows(words, [one.weights for one in written], phrases),
      'weights, in references': list(_references(pictures, phrases, *taken)),
    }
    if others:
      asked, named, _ = _named(boxes, others)
      tried = list(_references(asked, named, *taken))
      width = best_width(*([one[column] for one in tried] for column in range(3)))
      looked |= {f'{name}, smoothed': _smoothed(rows, width) for name, rows in looked.items()}
      about += _SMOOTHED.format(width)
  maps = _depended(pictures, codec, model, params, words)
  looked['gradients, written'] = _rows(words, maps, phrases)
  table = [_row(name, _scores(rows)) for name, rows in looked.items()]
  return Section('Pointing', before=f'{markdown(["", *_NAMES], table)}\n{about}')


def _rows(words, maps, phrases):
  """Returns what `pointed` takes, and the number of the photo, of a caption of each."""
  return list(zip(words, maps, phrases, range(len(phrases)), strict=True))


def _smoothed(rows, width):
  return [(words, smoothed(maps, width), *rest) for words, maps, *rest in rows]


def _named(boxes: Mapping[str, list[Phrase]], pictures: Seen):
  """Returns the pictures that have boxes, their phrases, and their numbers."""
  phrases = [boxes.get(name, []) for name in pictures.names]
  rows = [row for row, own in enumerate(phrases) if own]
  return some(pictures, rows), [phrases[row] for row in rows], rows


def _scores(looked) -> PointingScores | None:
  """Returns the scores of captions, of which a photo may have several."""
  if not looked:
    return None
  *given, photos = zip(*looked, strict=True)
  found = pointed(*given)
  return pointing_scores(found._replace(photos=np.array(photos)[found.photos]))


def _references(pictures, phrases, max_length, codec, model, params, shape):
  """Yields words, weights, phrases and photo of the references of photos."""
  if not phrases:
    return
  look = jax.jit(lambda params, batch: taught(model, params, captioned(batch))[1]['weights'])
  encoded = encode(codec, pictures.captions, max_length)
  for rows, batch in evaluation_batches(pictures, encoded):
    weights = np.asarray(look(params, batch))
    copies = encoded.lengths.shape[1]
    for place, row in enumerate(rows):
      for n in range(place * copies, (place + 1) * copies):
        length = max(int(batch['lengths'][n]) - 1, 0)  # without the end
        if length:
          words = [codec.symbols[i] for i in batch['targets'][n, :length]]
          yield words, weights[:length, n].reshape(length, *shape), phrases[row], row


def _depended(pictures, codec, model, params, captions):
  """Returns of a caption of each picture how much each word depends on each place, arrays [T_i, h,
  w]."""
  if not captions:
    return []
  longest, ids_of = max(map(len, captions)), {s: i for i, s in enumerate(codec.symbols)}
  targets = np.full((len(captions), 1, longest), PAD, np.int32)
  for row, words in enumerate(captions):
    targets[row, 0, : len(words)] = [ids_of[word] for word in words]
  written = CaptionIds(targets, np.array([[len(words)] for words in captions], np.int32), 0)
  depend = jax.jit(lambda params, batch: saliency(model, params, captioned(batch)))
  found = []
  for rows, batch in evaluation_batches(pictures, written):
    maps = np.asarray(depend(params, batch))
    found += [maps[: len(captions[row]), place] for place, row in enumerate(rows)]
  return found


def _row(name: str, scores: PointingScores | None) -> list[str]:
  if scores is None:
    return [name, '0', *['-'] * (len(_NAMES) - 1)]
  return [
    name,
    f'{scores.words:,}',
    f'{scores.photos:,}',
    _share(scores.accuracy),
    _share(scores.centre),
    f'{100 * scores.gain:+.1f} points',
    f'{100 * scores.low:+.1f} to {100 * scores.high:+.1f}',
    _share(scores.mass),
    _share(scores.area),
  ]


def _share(value):
  return f'{value:.1%}'
