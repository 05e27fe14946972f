"""The section of a report that says whether a captioner looks at what it names, or depends on
it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from rnn_research.analysis.reports.sections import Section
from rnn_research.analysis.reports.tables import markdown
from rnn_research.data.codec import PAD, TextCodec
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.captioning.batches import CaptionIds, Seen, captioned, evaluation_batches
from rnn_research.tasks.captioning.boxes import Phrase, read_boxes
from rnn_research.tasks.captioning.describer import Caption
from rnn_research.tasks.captioning.objective import taught
from rnn_research.tasks.captioning.pointing import (
  PointingScores,
  pointed,
  pointing_scores,
  smoothed,
)
from rnn_research.tasks.captioning.saliency import saliency
from rnn_research.typing import Params

# Standard deviations of smoothing that are tried, as shares of the side of a photo.
_WIDTHS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
_ABOUT = (
  'Hits: the weights of the noun are '
  'largest in a box; centre: the middle of the photo is in one; gain: hits less centre, with a '
  'bootstrap over photos. Mass: how much of the weights lies in the boxes; area: how much of '
  "even ones would. Gradients: the same of the places of the encoder's maps that the probability "
  'of the noun depends on, gradient times input.'
)
_NAMES = ('nouns', 'photos', 'hits', 'centre', 'gain', '95 % interval', 'mass', 'area')


def pointing_section(
  path: str,
  pictures: Seen,
  encoded: CaptionIds,
  codec: TextCodec,
  model: ConditionalModel,
  params: Params,
  found: Sequence[Caption],
  others: Callable[[], tuple[Seen, Sequence[Caption]]] | None = None,
) -> Section:
  """Returns the section.

  Args:
    path: of the boxes, see `boxes.read_boxes`.
    pictures: of a split.
    encoded: their references.
    codec: of the captions.
    model: the model.
    params: its parameters.
    found: a caption of each picture, with weights where the model looks.
    others: pictures of another split and their captions, by which is chosen how far weights are to
      be smoothed; None where there is none.

  Raises:
    FileNotFoundError: there is no such file.
    InputError: it is not one of boxes.
  """
  boxes = read_boxes(path)
  phrases = _phrases(boxes, pictures)
  named = [photo for photo, own in enumerate(phrases) if own]
  looked = {}
  about = f'The nouns that are heads of phrases with boxes, in {path}. {_ABOUT}'
  if found[0].weights.size:
    shape = found[0].weights.shape[1:]
    looked = {
      'weights, written': [(found[i].words, found[i].weights, phrases[i], i) for i in named],
      'weights, in references': list(
        _references(pictures, encoded, codec, model, params, phrases, shape)
      ),
    }
    if others and (width := _width(boxes, *others())):
      looked |= {
        f'{name}, smoothed': [(words, smoothed(maps, width), *rest) for words, maps, *rest in own]
        for name, own in looked.items()
      }
      about += (
        f' Smoothed: by a Gaussian of {width:g} of the side of a photo, of {len(_WIDTHS)} widths '
        'the one with most hits at the nouns that are written of the validation split.'
      )
  maps = _depended(pictures, codec, model, params, [found[i].words for i in named], named)
  looked['gradients, written'] = [
    (found[i].words, own, phrases[i], i) for i, own in zip(named, maps, strict=True)
  ]
  rows = [_row(name, _scores(own)) for name, own in looked.items()]
  return Section('Pointing', before=f'{markdown(["", *_NAMES], rows)}\n{about}')


def _phrases(boxes: Mapping[str, list[Phrase]], pictures: Seen) -> list[list[Phrase]]:
  return [boxes.get(Path(name).name, []) for name in pictures.names]


def _width(boxes, pictures, found):
  """Returns the narrowest of the widths of smoothing with most hits; 0 where there are no nouns."""
  named = [(one, own) for one, own in zip(found, _phrases(boxes, pictures), strict=True) if own]

  def hits(width):
    scores = _scores(
      [(one.words, smoothed(one.weights, width), own, i) for i, (one, own) in enumerate(named)]
    )
    return scores.accuracy if scores else 0.0

  return max(_WIDTHS, key=hits)


def _scores(looked) -> PointingScores | None:
  """Returns the scores of captions, of which a photo may have several."""
  if not looked:
    return None
  *given, photos = zip(*looked, strict=True)
  found = pointed(*given)
  return pointing_scores(found._replace(photos=np.array(photos)[found.photos]))


def _references(pictures, encoded, codec, model, params, phrases, shape):
  """Yields words, weights, phrases and photo of the references of photos with boxes."""
  look = jax.jit(lambda params, batch: taught(model, params, captioned(batch))[1]['weights'])
  for rows, batch in evaluation_batches(pictures, encoded):
    weights = np.asarray(look(params, batch))
    copies = encoded.lengths.shape[1]
    for place, row in enumerate(rows):
      for n in range(place * copies, (place + 1) * copies):
        length = max(int(batch['lengths'][n]) - 1, 0)  # without the end
        if phrases[row] and length:
          words = [codec.symbols[i] for i in batch['targets'][n, :length]]
          yield words, weights[:length, n].reshape(length, *shape), phrases[row], row


def _depended(pictures, codec, model, params, captions, rows):
  """Returns of the captions of some pictures how much each word depends on each place, arrays [T_i,
  h, w]."""
  if not rows:
    return []
  longest, ids_of = max(map(len, captions)), {s: i for i, s in enumerate(codec.symbols)}
  targets = np.full((len(rows), 1, longest), PAD, np.int32)
  for row, words in enumerate(captions):
    targets[row, 0, : len(words)] = [ids_of[word] for word in words]
  written = CaptionIds(targets, np.array([[len(words)] for words in captions], np.int32), 0)
  own = pictures._replace(
    names=[pictures.names[row] for row in rows],
    inputs=lambda at, rng=None: pictures.inputs(np.array(rows)[at]),
  )
  depend = jax.jit(lambda params, batch: saliency(model, params, captioned(batch)))
  found = []
  for at, batch in evaluation_batches(own, written):
    maps = np.asarray(depend(params, batch))
    found += [maps[: len(captions[row]), place] for place, row in enumerate(at)]
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
