"""The search for interpretable units of a trained language model, as a command and a mode."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnn_research.analysis.concepts.sets import LANGUAGES
from rnn_research.analysis.measures.interventions import check_unit
from rnn_research.analysis.measures.recording import (
  Recording,
  gather,
  read_unit,
  record,
  units_of,
  values_in_one,
)
from rnn_research.analysis.measures.unit_search import LEVEL, Found, search
from rnn_research.analysis.reports import unit_table
from rnn_research.analysis.reports.activation_html import ShownActivations, show_activations
from rnn_research.analysis.reports.activation_page import Guesses
from rnn_research.data.codec import TextCodec, require_characters
from rnn_research.errors import require
from rnn_research.experiment import Command, flags_of
from rnn_research.models.language_model import LanguageModel
from rnn_research.parameters import num_parameters
from rnn_research.tasks.language.labelled_text import LabelledText, read_labelled_text
from rnn_research.terminal import aligned
from rnn_research.training.progress import open_counter, tell
from rnn_research.training.result import report_folder
from rnn_research.typing import Params


class Interpretation(NamedTuple):
  """What was found in a model.

  Attributes:
    labelled: the text and its concepts.
    recording: what every unit did.
    found: by concept, the best first.
    symbols: id -> symbol as it is shown.
  """

  labelled: LabelledText
  recording: Recording
  found: tuple[Found, ...]
  symbols: tuple[str, ...]


def interpret(
  model: LanguageModel,
  codec: TextCodec,
  texts: Callable,
  params: Params,
  text: str = '',
  length: int = 200_000,
  concepts: str = '',
  language: str = 'auto',
) -> Interpretation:
  """Records every unit over a text and searches for those that tell concepts.

  Args:
    model: the language model.
    codec: of the model.
    texts: `() -> split -> ids`.
    params: of the model.
    text: see `read_labelled_text`, as for `length`, `concepts` and `language`.

  Raises:
    InputError: see `read_labelled_text`.
  """
  labelled = read_labelled_text(codec, texts, text, length, concepts, language)
  trained, untrained = _recordings(model, params, labelled.ids)
  names = [concept.name for concept in labelled.concepts]
  found = search(trained, untrained.values, labelled.text, names, labelled.labels)
  return Interpretation(labelled, trained, tuple(found), codec.signs)


def activations(
  model: LanguageModel, codec: TextCodec, params: Params, text: str, unit: str
) -> ShownActivations:
  """Returns a text of your own coloured by what one unit does on it, for a notebook: blue below
  zero, orange above, and under each symbol what the model expects next.

  Args:
    model: the language model.
    codec: of the model.
    params: of the model.
    text: the model reads it from its initial state.
    unit: layer and unit, such as '1:c23'.

  Raises:
    InputError: the text is empty, the model reads words, or it has no such unit.
  """
  require_characters(codec)
  require('the text', text, bool(text), 'a symbol at least')
  chosen = read_unit(unit)
  check_unit(model, params, chosen)
  ids = codec.encode(text)
  pieces = record(model, params, ids)
  seen = gather(units_of(model, params), pieces, len(ids), lambda done: None)
  guesses = Guesses(seen.guesses, seen.probs, codec.signs)
  return show_activations(codec.characters(ids), values_in_one(seen, chosen), unit, guesses)


def _recordings(model, params, ids):
  """Returns what the model does, and one of the same shape that was never trained; each on a core
  of its own, since a single text leaves no more to share."""
  done = [0, 0]

  def run(display, which, params):
    def show(count):
      done[which] = count
      display.update(sum(done))

    pieces = record(model, params, ids)
    if which:  # whose gates nobody looks at
      pieces = (piece._replace(gates=({},) * len(model.cells)) for piece in pieces)
    return gather(units_of(model, params), pieces, len(ids), show)

  counter = closing(open_counter(2 * len(ids), 'symbols'))
  with counter as display, ThreadPoolExecutor(2) as pool:
    both = params, model.init(jax.random.key(0))
    return list(pool.map(functools.partial(run, display), (0, 1), both))


def notes(made: Interpretation, params: Params) -> list[str]:
  """Returns in sentences what the search was, and what it did not find."""
  labelled, recording, found, _ = made
  said = [
    f'{num_parameters(params):,} parameters; {-np.nanmean(recording.log_probs):.3f} nats per '
    f'symbol on the {len(labelled.ids):,} symbols looked at.',
    f'The text was read as {labelled.language}. {len(recording.units):,} units were tried for '
    f'{len(found)} concepts, chosen on one half of the text and scored on the other.',
  ]
  if weak := [f'{one.concept} ({one.kind} {one.score:.2f})' for one in found if not one.is_real]:
    said.append(f'Not found (q > {LEVEL}, or no better than without training): {", ".join(weak)}.')
  if labelled.skipped:
    absent = ', '.join(labelled.skipped)
    said.append(f'Not searched, too rare in this text: {absent}.')
  if labelled.unparsed:
    said.append(f'{labelled.unparsed:,} lines that do not parse as Python have no labels.')
  return said


def print_findings(run: Any, **options) -> None:
  """Prints what `interpret` finds, and writes its pages."""
  # Matplotlib is slow to load.
  from rnn_research.analysis.reports.interpretation import write_interpretation

  made = run.interpret(**options)
  said = notes(made, run.params)
  title = f'{Path(run.workdir).name}, a run of {run.name}'
  print(aligned(unit_table.brief(made.found)))  # first, should the report not be written
  labelled, out = made.labelled, report_folder(run.workdir, 'units')
  write_interpretation(out, title, labelled.text, made.symbols, made.recording, made.found, said)
  for line in (*said, f'in colour: {out}/units.html'):
    tell(line)


INTERPRET = Command(
  'searches for units that tell concepts, such as inside quotes, and draws what they do',
  flags_of(
    interpret,
    text='file or folder to read, UTF-8; by default the last held-out split',
    length='the most symbols of it',
    concepts='Python file with concepts of your own: functions from a text to a label a symbol',
    language=f'what the built-in concepts are for: {", ".join(LANGUAGES)}',
  ),
  print_findings,
  reads_data=True,
)
