"""What a trained language model gets that an n-gram of its training text does not: a mode."""

from collections.abc import Callable
from typing import Any

from rnn_research.analysis.measures.text_errors import Comparison, compare
from rnn_research.data.codec import TextCodec, require_characters
from rnn_research.errors import InputError, require
from rnn_research.experiment import Command, flags_of
from rnn_research.tasks.language.source import split_ids
from rnn_research.terminal import aligned
from rnn_research.training.progress import tell
from rnn_research.training.result import report_folder
from rnn_research.typing import Params


def compare_errors(
  score: Callable,
  codec: TextCodec,
  texts: Callable,
  params: Params,
  order: int = 9,
  length: int = 200_000,
) -> Comparison:
  """Compares the model, on its last held-out split, with n-grams of its training split.

  Args:
    score: `(params, ids) -> log p` of `evaluation.exact_scores`.
    codec: of the model, of characters or bytes.
    texts: `() -> split -> ids`.
    params: of the model.
    order: of the longest n-gram; it sees one symbol less.
    length: the most symbols of the split, from its beginning on.

  Raises:
    InputError: a number out of range, another text than the model was trained on, or a model of
      words.
  """
  require_characters(codec)
  require('order', order, 1 <= order <= 20, 'an integer in [1, 20]')
  require('length', length, length >= 2, 'an integer >= 2')
  splits = texts()
  if [*splits] in (['text'], ['train']):
    raise InputError(
      'errors are compared on what is held out of the text that the model was trained on, with '
      'n-grams of the rest; there is no such text'
    )
  ids = split_ids(splits)[:length]
  tell(f'counting the {order}-grams of {len(splits["train"]):,} symbols (minutes for millions)')
  return compare(ids, score(params, ids), splits['train'], codec, order)


def print_errors(run: Any, **options) -> None:
  """Prints and draws what `compare_errors` finds."""
  # Matplotlib is slow to load.
  from rnn_research.analysis.reports import sections
  from rnn_research.analysis.reports.error_figures import sections as sections_of

  found = run.errors(**options)
  print(aligned(_rows(found)))
  out = report_folder(run.workdir, 'errors')
  sections.write(out, f'{run.name} against {found.order}-grams', sections_of(found))
  tell(f'written to {out}/README.md')


def _rows(found):
  count = found.errors[0]
  yield 'nats per symbol', f'{found.nats:.4f}'
  for n, nats in enumerate(found.ngram_nats, 1):
    yield f'  of {n}-grams', f'{nats:.4f}'
  yield 'errors (p < 1/2)', f'{count:,} of {found.predictions:,}'
  for cause, removed in found.causes.items():
    yield f'  {cause}', f'{removed / max(count, 1):.1%}'


ERRORS = Command(
  'compares its errors with those of n-grams of its training text',
  flags_of(
    compare_errors,
    order='of the longest n-gram, at most 20',
    length='the most symbols of the last held-out split',
  ),
  print_errors,
  reads_data=True,
)
