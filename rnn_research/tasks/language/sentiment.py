"""What a language model knows of the sentiment of a sentence, in all its units and in the best one:
a mode of its own."""

import math
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnn_research.analysis.measures import logistic
from rnn_research.analysis.measures.logistic import Threshold
from rnn_research.analysis.measures.recording import Unit, units_of
from rnn_research.data.codec import TextCodec
from rnn_research.errors import require_one_of
from rnn_research.experiment import Command
from rnn_research.models.language_model import LanguageModel
from rnn_research.tasks.language.labelled_sentences import (
  SPLITS,
  Labelled,
  character_ngrams,
  read_labelled,
)
from rnn_research.tasks.language.last_states import last_states
from rnn_research.tasks.language.source import UNITS
from rnn_research.terminal import aligned
from rnn_research.training.progress import open_counter, show, tell, warn
from rnn_research.training.result import report_folder
from rnn_research.typing import Params

BEFORE, AFTER = '\n', ' '  # what is read around a sentence


class Probe(NamedTuple):
  """A logistic regression on all numbers of a sentence.

  Attributes:
    dev: accuracy on dev, by which the strength is chosen.
    test: accuracy on test.
    strength: of the L2 penalty.
  """

  dev: float
  test: float
  strength: float


class BestUnit(NamedTuple):
  """The single unit that tells the classes apart best.

  Attributes:
    unit: which one.
    threshold: chosen on train and dev, as the unit is.
    test: accuracy on test.
    values: split -> [N] float32, its value after every sentence.
  """

  unit: Unit
  threshold: Threshold
  test: float
  values: dict[str, np.ndarray]


class Network(NamedTuple):
  """What the units of one network tell, all together and the best one alone."""

  all_units: Probe
  best_unit: BestUnit


class Sentiment(NamedTuple):
  """How well the sentiment of test sentences is told.

  Attributes:
    data: the sentences.
    num_units: U, the numbers in the states of all layers.
    trained: by the states of the model.
    untrained: by those of a network of the same shape with initial parameters.
    ngrams: by which n-grams of characters there are, see `character_ngrams`.
    majority: accuracy on test of the class that is more frequent in train.
  """

  data: Labelled
  num_units: int
  trained: Network
  untrained: Network
  ngrams: Probe
  majority: float


def sentiment(
  model: LanguageModel, codec: TextCodec, params: Params, folder: str, seed: int = 0
) -> Sentiment:
  """Scores what the states of a language model of characters or bytes tell of sentiment.

  The model reads a line end, a sentence and a space from the initial state. Symbols that it never
  saw are skipped; of an empty sentence it reads the line end and the space. Features are the states
  of all layers after the last symbol, h and, where there is one, c, as they are (no tanh); for the
  regression each has mean 0 and variance 1 on train.

  Args:
    model: the language model.
    codec: of the model.
    params: of the model.
    folder: see `read_labelled`.
    seed: of the untrained network.

  Raises:
    InputError: a model of words, or sentences that cannot be used.

  Source: Radford, Jozefowicz and Sutskever 2017 (arXiv 1704.01444). Deviates from the paper: the
  penalty is L2, not L1; h counts too, not c alone, and without tanh; the best unit is the one whose
  best threshold is right most often, not the one of the largest weight; no space before a sentence.
  """
  require_one_of('data.unit', codec.unit, ('char', 'byte'), ' for sentiment')
  data = read_labelled(folder, 'labelled')
  sentences = _read(codec, [one for split in SPLITS for one in data.sentences[split]])
  ends = np.cumsum([len(data.sentences[split]) for split in SPLITS])
  units = units_of(model, params)

  def measure(display, params, before):
    states = last_states(model, params, sentences, lambda done: display.update(before + done))
    return _network(units, dict(zip(SPLITS, np.split(states, ends[:-1]), strict=True)), data.labels)

  with closing(open_counter(2 * len(sentences), 'sentences')) as display:
    trained = measure(display, params, 0)
    untrained = measure(display, model.init(jax.random.key(seed)), len(sentences))
  ngrams = _probe(character_ngrams(data.sentences), data.labels)
  more_frequent = data.labels['train'].mean() > 0.5
  majority = float(np.mean(data.labels['test'] == more_frequent))
  return Sentiment(data, len(units), trained, untrained, ngrams, majority)


def _read(codec, sentences):
  """Returns the ids of what is read of sentences, with a warning of what is not."""
  ids = codec.encode_all([f'{BEFORE}{sentence}{AFTER}' for sentence in sentences])
  inside = np.concatenate([one[len(BEFORE) : -len(AFTER)] for one in ids])
  unknown = int(np.sum(inside == codec.unknown))
  if unknown:
    warn(
      f'{unknown:,} of the {len(inside):,} {UNITS[codec.unit]} of these sentences '
      f'({unknown / len(inside):.2%}) are skipped: the model never saw them in training'
    )
  return [one[one != codec.unknown] for one in ids]


def _network(units, features, labels):
  arrays = logistic.rotated(*logistic.standardised(*(features[split] for split in SPLITS)))
  probe = _probe(dict(zip(SPLITS, arrays, strict=True)), labels)
  chosen_by = np.concatenate([features['train'], features['dev']])
  known = np.concatenate([labels['train'], labels['dev']])
  thresholds = [logistic.best_threshold(values, known) for values in chosen_by.T]
  best = max(range(len(units)), key=lambda place: thresholds[place].accuracy)
  values = {split: features[split][:, best] for split in SPLITS}
  right = logistic.threshold_accuracy(thresholds[best], values['test'], labels['test'])
  return Network(probe, BestUnit(units[best], thresholds[best], right, values))


def _probe(xs, labels):
  model, strength = logistic.choose(xs['train'], labels['train'], (xs['dev'], labels['dev']))
  dev, test = (logistic.accuracy(model, xs[split], labels[split]) for split in ('dev', 'test'))
  return Probe(dev, test, strength)


def print_sentiment(run: Any, labelled: str) -> None:
  """Prints a table of `sentiment`, and draws how the best unit parts the classes."""
  # Matplotlib is slow to load.
  from rnn_research.analysis.reports import plots
  from rnn_research.tasks.language.sentiment_figure import histogram

  found = run.sentiment(labelled)
  show(aligned(rows(found)))
  out = Path(report_folder(run.workdir)) / 'sentiment.png'
  best, labels = found.trained.best_unit, found.data.labels['test']
  about = (
    f'The unit that tells the two classes apart best, of {found.num_units:,}, after each of the '
    f'{len(labels):,} test sentences. It and its threshold were chosen on train and dev; '
    f'{best.test:.1%} of the test sentences lie on the right side.'
  )
  values, threshold = best.values['test'], best.threshold.value
  plot = histogram(values, labels, found.data.classes, threshold, str(best.unit), about)
  plots.save(plot, out)
  tell(f'the best unit is drawn in {out}')


def rows(found: Sentiment) -> list[tuple[str, str, str]]:
  """Returns the table of what is measured: the method, its accuracy on test, how it was chosen."""
  count = len(found.data.labels['test'])
  lines = [
    (f'{count:,} test sentences', 'accuracy', f'standard error {math.sqrt(0.25 / count):.1%}'),
    ('the more frequent class', f'{found.majority:.1%}', ''),
  ]
  for name, network in (('untrained', found.untrained), ('trained', found.trained)):
    best = network.best_unit
    chosen = f'{best.unit}, {best.threshold.accuracy:.1%} on train and dev'
    lines += [
      (f'best unit of the {name} network', f'{best.test:.1%}', chosen),
      _row(f'all {found.num_units:,} units of the {name} network', network.all_units),
    ]
  return [*lines, _row('n-grams of 1 to 3 characters', found.ngrams)]


def _row(method, probe):
  return method, f'{probe.test:.1%}', f'penalty {probe.strength:.2g}, {probe.dev:.1%} on dev'


SENTIMENT = Command(
  'tells how much of the sentiment of sentences is in all units, and in the best one',
  {'labelled': ('', 'folder of train, dev and test, .csv or .csv.gz with label,sentence')},
  print_sentiment,
)
