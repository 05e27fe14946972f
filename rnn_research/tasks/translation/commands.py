"""Modes of a trained translator: translate lines, score given pairs; and what is said of the data
before training."""

import codecs
import functools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral

import jax
import numpy as np

from rnn_research.data.buckets import Bucket, EncodedPairs, evaluation_batches
from rnn_research.data.files import (
  UTF8,
  open_output,
  read_input,
  require_data_kept,
  require_encoding,
  require_kept,
)
from rnn_research.data.lines import cut_lines
from rnn_research.data.pairs import Pairs, language_of, read_pairs
from rnn_research.decoding.beam import Beam, check_coverage
from rnn_research.decoding.decode import chosen_way
from rnn_research.errors import InputError, require, require_one_of, require_seed
from rnn_research.experiment import Command, flags_of
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.translation.corpus import (
  FILES,
  Codec,
  ParallelCorpus,
  encode_pairs,
  unknown_rates,
)
from rnn_research.tasks.translation.model import SOURCES
from rnn_research.tasks.translation.translator import MORE, Translation, translator
from rnn_research.training.progress import tell, warn, watched
from rnn_research.typing import Params

# Lines that are translated, and written, together.
_CHUNK = 256
_BEAM = Beam(5)


def commands_of(
  model: ConditionalModel, codec: Codec, max_length: int, nats: Callable, held_out: Callable
) -> dict[str, Callable]:
  """Returns what a trained translator can do: command -> `(params, ..) -> value`.

  Args:
    model: the model.
    codec: of its languages.
    max_length: longer sources are cut.
    nats: compiled `conditional_loss.nats` of the model.
    held_out: `() -> split -> Pairs`.
  """
  make = functools.cache(lambda how, n_best: translator(model, codec, how, max_length, n_best))
  return {
    'translate': functools.partial(translate, model, make),
    'translations': functools.partial(translations, model, make),
    'score': functools.partial(log_probs, nats, codec, held_out),
    'pairs': lambda params, split: _of_split(held_out(), split),
    'scores': functools.partial(scores, nats, codec),
    'languages': lambda params: codec.languages,
  }


def translations(
  model: ConditionalModel,
  make: Callable[..., Callable],
  params: Params,
  texts: Sequence[str],
  beam_size: int = _BEAM.size,
  n_best: int = 1,
  length_penalty: float = _BEAM.length_penalty,
  coverage_penalty: float = _BEAM.coverage_penalty,
  temperature: float = 0.0,
  seed: int = 0,
) -> Iterator[list[Translation]]:
  """Returns an iterator over the `n_best` translations of every text, the best in front.

  Args:
    model: the model.
    make: `(how, n_best) -> translate`, see `translator`.
    params: of the model.
    texts: sentences; the translations of an empty one are empty.
    beam_size: hypotheses of the beam search; 1 is greedy.
    n_best: translations of each text.
    length_penalty: alpha of Wu et al. 2016.
    coverage_penalty: beta of Wu et al. 2016.
    temperature: above 0 translations are drawn, not searched for.
    seed: of the drawing.

  Raises:
    InputError: a number out of range, a coverage penalty without attention, or no list of
      sentences.
  """
  texts = _sentences('texts', texts)
  how = _way(beam_size, n_best, length_penalty, coverage_penalty, temperature, seed)
  if coverage_penalty:
    check_coverage(coverage_penalty, _attends(model, params))
  run, key = make(how, n_best), jax.random.key(seed)
  return (
    found
    for start in range(0, len(texts), _CHUNK)
    for found in run(params, texts[start : start + _CHUNK], jax.random.fold_in(key, start))
  )


def _way(beam_size, n_best, length_penalty, coverage_penalty, temperature, seed):
  """Returns how translations are found; raises InputError for a number out of range."""
  how = chosen_way(Beam(beam_size, length_penalty, coverage_penalty), _BEAM, temperature)
  holds = isinstance(n_best, Integral) and 1 <= n_best <= beam_size
  require('n_best', n_best, holds, f'an integer in [1, {beam_size}], the beam_size')
  require(
    'n_best',
    n_best,
    n_best == 1 or not temperature,
    '1 where translations are drawn (temperature above 0)',
  )
  require_seed('seed', seed)
  return how


def _sentences(name, texts):
  """Returns a list of sentences; refuses a string, whose characters would be taken for them."""
  require(name, texts, not isinstance(texts, str), 'a list of sentences')
  return list(texts)


def _attends(model, params):
  def told(params, ids):
    return model.teach(params, model.encode(params, ids), ids)[1]

  return 'weights' in jax.eval_shape(told, params, SOURCES)


def translate(
  model: ConditionalModel,
  make: Callable[..., Callable],
  params: Params,
  texts: Sequence[str],
  **options,
) -> list[str]:
  """Returns the best translation of every text; see `translations`."""
  return [best.text for best, *_ in translations(model, make, params, texts, **options)]


def scores(
  nats: Callable, codec: Codec, params: Params, sources: Sequence[str], targets: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns log p(target | source) of every pair, [N] float64, and the target symbols with the end,
  [N].

  Raises:
    InputError: there are not as many sources as targets, or they are no lists of sentences.
  """
  sources, targets = _sentences('sources', sources), _sentences('targets', targets)
  if len(sources) != len(targets):
    raise InputError(
      f'there are {len(sources)} sources and {len(targets)} targets, expected as many'
    )
  encoded, values = encode_pairs(codec, Pairs(sources, targets, 0)), np.zeros(len(sources))
  for places, batch in watched(evaluation_batches(encoded), len(sources), 'pairs'):
    values[places] = -np.asarray(nats(params, batch), np.float64)[: len(places)]
  return values, encoded.targets.lengths + 1


def log_probs(
  nats: Callable,
  codec: Codec,
  held_out: Callable,
  params: Params,
  sources: Sequence[str] = (),
  targets: Sequence[str] = (),
  split: str = '',
) -> np.ndarray:
  """Returns log p(target | source) of given pairs, or of those of a split, 'valid' or 'test', [N]
  float64; see `scores`."""
  _check_no_pairs(split, sources, targets)
  if split:
    sources, targets, *_ = _of_split(held_out(), split)
  return scores(nats, codec, params, sources, targets)[0]


def _of_split(splits, name):
  require_one_of('split', name, splits)
  return splits[name]


def _check_no_pairs(split, *given):
  require('split', split, not (split and any(given)), 'none where pairs are given')


def translate_file(run, input: str, output: str, encoding: str, n_best: int, **options) -> None:
  """Translates the lines of a file as they come; what is written stays if it is interrupted.

  An empty line gives an empty line. With `n_best` above 1 a line is: number of the input line,
  score, translation, separated by tabs.

  Raises:
    InputError: what `translations` refuses, an input that cannot be read or that is in the target
      language, or an output that cannot be written or is the input.
  """
  require_encoding('encoding', encoding)
  run.translations([], n_best=n_best, **options)  # refuses before standard input is waited for
  _check_language(run, input, 'input')
  lines, counts = _lines(input, encoding), {'empty': 0, 'cut': 0, 'unended': 0}
  found = run.translations(lines, n_best=n_best, **options)
  require_kept('output', [output], 'input', [input])
  require_data_kept('output', output, run.config.data, FILES)
  with open_output(output, 'output') as out:
    for number, (line, hypotheses) in enumerate(zip(lines, found, strict=True), 1):
      out.writelines(_written(hypotheses, number, n_best))
      out.flush()
      counts['empty'] += not line
      counts['cut'] += hypotheses[0].cut
      counts['unended'] += bool(line) and '<eos>' not in hypotheses[0].symbols[-1:]
  _warn(counts, run.config.data.max_length)
  tell(f'{len(lines)} lines translated')


def _check_language(run, path, flag):
  here, there = run.languages()
  if there and here != there and language_of(path) == there:
    raise InputError(
      f'{flag} is {path}, which is named after {there}, expected {here or "the source language"}: '
      f'the model translates from {here or "it"} to {there}'
    )


def _lines(path: str, encoding: str) -> list[str]:
  """Returns the lines of a file, of a pipe, or of standard input for '-'; nothing has no lines."""
  if path == '-' and sys.stdin.isatty():
    tell('reads lines from the keyboard; Ctrl-D after the last one')
  data = read_input(path, 'input')
  return [line.strip() for line in cut_lines(data, path, 'input', encoding)] if data else []


def _written(found: Sequence[Translation], number: int, n_best: int) -> Iterator[str]:
  for hypothesis in found[:n_best]:
    yield (
      f'{hypothesis.text}\n'
      if n_best == 1
      else f'{number}\t{hypothesis.score:.4f}\t{hypothesis.text}\n'
    )


def _warn(counts, max_length):
  if counts['empty']:
    warn(f'empty lines, {counts["empty"]} of them, have empty translations')
  if counts['cut']:
    warn(
      f'lines of more than {max_length} symbols (data.max_length), {counts["cut"]} of '
      'them, were cut'
    )
  if counts['unended']:
    warn(
      f'translations, {counts["unended"]} of them, were cut off at twice the symbols of their line '
      f'plus {MORE}, before the model had ended them'
    )


def score_file(run, split: str, source: str, target: str, encoding: str, out: str) -> None:
  """Writes a table of pairs, of files or of a split: log p(target | source), target symbols with
  the end, source, target.

  Raises:
    InputError: there is no such split, the pairs cannot be read, or the table would overwrite them.
  """
  _check_no_pairs(split, source, target)
  require_encoding('encoding', encoding)
  same = codecs.lookup(encoding).name == UTF8
  require('encoding', encoding, same or not split, f'{UTF8} where a split is scored')
  pairs = run.pairs(split) if split else _given_pairs(run, source, target, encoding)
  for flag, path in (('source', source), ('target', target)):
    require_kept('out', [out], flag, [path])
  require_data_kept('out', out, run.config.data, FILES)
  with open_output(out, 'out') as f:
    values, lengths = run.scores(pairs.sources, pairs.targets)
    _write_scores(values, lengths, pairs, f)


def _given_pairs(run, source, target, encoding):
  expected = 'a file of sentences, and --target that of their translations; or --split'
  require('source', source, bool(source), expected)
  _check_language(run, source, 'source')
  return read_pairs(source, target, 'source', encoding)


def _write_scores(values, lengths, pairs, f):
  f.write('log_probability\tsymbols\tsource\ttarget\n')
  f.writelines(
    f'{value:.6f}\t{length}\t{_blank(a)}\t{_blank(b)}\n'
    for value, length, a, b in zip(values, lengths, pairs.sources, pairs.targets, strict=True)
  )
  per_symbol = -values.sum() / sum(lengths)
  tell(
    f'{len(values)} pairs, {pairs.empty} empty ones left out, {per_symbol:.4f} nats per target '
    f'symbol, perplexity {np.exp(per_symbol):.2f}{_third_column(pairs)}'
  )


def _blank(text):
  return text.replace('\t', ' ')


_ENCODING = UTF8, 'of the text that is read, such as utf-16 or latin-1'
COMMANDS = {
  'translate': Command(
    'translates the lines of a file',
    {
      'input': ('-', 'text, one sentence per line; - is standard input'),
      'output': ('-', 'file for the translations, in UTF-8; - is standard output'),
      'encoding': _ENCODING,
      **flags_of(
        translations,
        beam_size='hypotheses of the beam search; 1 is greedy',
        n_best='translations per line; above 1 each with its line number and score',
        length_penalty='alpha of Wu et al. 2016: 0 prefers short translations',
        coverage_penalty='beta of Wu et al. 2016: above 0 what attention left out costs',
        temperature='above 0 translations are drawn, from logits divided by it, not searched for',
        seed='of the drawing',
      ),
    },
    translate_file,
    example='--input=- --beam_size=5',
  ),
  'score': Command(
    'writes the log-probability of given translations, or of those of a held-out split',
    {
      'split': ('', 'valid or test, in place of files'),
      'source': ('', 'file of source sentences'),
      'target': ('', 'file of their translations; without it --source has tab-separated pairs'),
      'encoding': _ENCODING,
      'out': ('', 'file for the table; by default it is printed'),
    },
    score_file,
    reads_data=True,
  ),
}


def _third_column(pairs):
  return '; the third column is ignored' if pairs.columns == 3 else ''


def describe(
  codec: Codec,
  loaded: ParallelCorpus,
  encoded: Mapping[str, EncodedPairs],
  num_trained: int,
  max_length: int,
  buckets: Sequence[Bucket],
) -> str:
  """Returns what is worth knowing of the data before training.

  Args:
    codec: of the languages.
    loaded: the pairs.
    encoded: split -> ids of its pairs, also those that are too long to train on.
    num_trained: training pairs that are not.
    max_length: the longest that are not.
    buckets: shapes of batches.
  """
  lines = []
  for split, pairs in encoded.items():
    source, target = unknown_rates(codec, pairs)
    too_long = len(pairs.sources.lengths) - num_trained if split == 'train' else 0
    share = ', a share of those to train on' if split in loaded.drawn else ''
    read = loaded.splits[split]
    left_out = f', {read.empty} left out with an empty side' if read.empty else ''
    left_out += f', {read.duplicates} duplicates left out' if read.duplicates else ''
    left_out += (
      f', {too_long} of them left out with more than {max_length} symbols' if too_long else ''
    )
    lines.append(
      f'{split}: {len(pairs.sources.lengths):,} pairs{share}{left_out}; unknown symbols '
      f'{source:.2%} in sources, {target:.2%} in targets{_third_column(read)}'
    )
  sizes = (
    f'{len(side.symbols):,} {side.unit}s{f" ({language})" if language else ""}'
    for side, language in zip(codec[:2], codec.languages, strict=True)
  )
  shapes = ', '.join(f'{b.rows} x {b.source_length} to {b.target_length}' for b in buckets)
  return '\n'.join(
    [
      *lines,
      f'vocabularies: {" to ".join(sizes)}',
      f'batches, pairs x longest source to longest target: {shapes}',
    ]
  )
