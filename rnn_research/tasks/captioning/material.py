"""What a captioner is trained on and measured by: the pictures of all splits as it sees them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_research.data.codec import TextCodec, train_sentence_codec
from rnn_research.data.pictures import read_picture
from rnn_research.metrics.captions.score import tokenized
from rnn_research.tasks.captioning.batches import Seen
from rnn_research.tasks.captioning.corpus import Captions, load_captions
from rnn_research.tasks.captioning.scenes import Scene, draw_scenes
from rnn_research.tasks.captioning.sight import Sight, inputs_of, see_all

_HELD_OUT_SCENES = 500


class Material(NamedTuple):
  """Pictures and captions.

  Attributes:
    splits: 'train', and perhaps 'valid' and 'test' -> name of each picture, and its captions.
    fingerprint: hex digest of the training pictures' names and captions.
    about: lines that say what there is.
    drawn: the splits that are shares of the training pictures.
    corpus: of files; None of scenes.
    scenes: split -> its scenes; {} of files.
  """

  splits: Mapping[str, Any]
  fingerprint: str
  about: tuple[str, ...]
  drawn: tuple[str, ...]
  corpus: Captions | None
  scenes: Mapping[str, tuple[Scene, ...]]


def load(data: Mapping[str, Any]) -> Material:
  """Reads what the block `data` of a config names, or draws scenes; raises as `load_captions`."""
  if not data['scenes']:
    found = load_captions(data)
    return Material(found.splits, found.fingerprint, found.about, found.drawn, found, {})
  held_out = min(_HELD_OUT_SCENES, data['scenes'])
  counts = {'train': data['scenes'], 'valid': held_out, 'test': held_out}
  scenes = {split: draw_scenes(count, seed) for seed, (split, count) in enumerate(counts.items())}
  splits = {
    split: [(f'{split} {i}', (scene.caption,)) for i, scene in enumerate(drawn)]
    for split, drawn in scenes.items()
  }
  about = ', '.join(f'{split} {len(drawn):,} scenes' for split, drawn in scenes.items())
  return Material(splits, f'scenes {data["scenes"]}', (about,), (), None, scenes)


def train_codec(material: Material, data: Mapping[str, Any]) -> TextCodec:
  """Returns the codec that knows the words of the training captions."""
  captions = [tokenized(text) for _, texts in material.splits['train'] for text in texts]
  return train_sentence_codec(
    captions, 'word', True, data['min_frequency'], data['vocabulary_size']
  )


def seen(
  material: Material, split: str, sight: Sight, looks: tuple[str, ...], cache_dir: str
) -> Seen:
  """Returns a split as a model sees it; pictures that cannot be read are left out.

  Args:
    material: of `load`.
    split: of its splits.
    sight: how pictures are seen.
    looks: of `data.views.VIEWS`, of which one is drawn for each picture where there is an rng; the
      first is the plain one.
    cache_dir: of `cached_features`.
  """
  names, captions = zip(*material.splits[split], strict=True)
  if material.corpus is None:
    pictures = np.stack([scene.picture for scene in material.scenes[split]])
    drawn = lambda rows, rng=None: dict(sight.extract(pictures[rows]))
    return Seen(names, captions, drawn, lambda number: pictures[number])
  views = see_all(sight, material.corpus.pictures, names, looks, cache_dir)
  kept = np.flatnonzero(np.min([view.rows for view in views], 0) >= 0)

  def inputs(rows, rng=None):
    rows = kept[rows]
    if rng is None or len(views) == 1:
      return inputs_of(views[0], rows)
    chosen = rng.integers(len(views), size=len(rows))
    parts = [inputs_of(view, rows) for view in views]
    pick = lambda arrays: np.stack(arrays)[chosen, np.arange(len(rows))]
    return {name: pick([part[name] for part in parts]) for name in parts[0]}

  own = [names[i] for i in kept]
  read = material.corpus.pictures.read
  picture = lambda number: read_picture(read(own[number]), own[number], sight.size)
  return Seen(own, [captions[i] for i in kept], inputs, picture)
