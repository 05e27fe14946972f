"""Modes of a trained translator: translate lines, score given pairs; and what is said of the data
before training."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from rnn_research.data.buckets import Bucket, EncodedPairs, evaluation_batches
from rnn_research.data.pairs import cut_lines, language_of, read_lines, read_pairs
from rnn_research.decoding.beam import Beam, check_beam
from rnn_research.decoding.sampling import Sampling, check_sampling
from rnn_research.errors import InputError, require, require_seed
from rnn_research.models.conditional_model import ConditionalModel
from rnn_research.tasks.translation.corpus import Codec, encode_pairs, unknown_rates
from rnn_research.tasks.translation.translator import Translation, translator
from rnn_research.typing import Params

# Lines that are translated, and written, together.
_CHUNK = 256


def translate(
  model: ConditionalModel,
  codec: Codec,
  max_length: int,
  params: Params,
  input: str,
  output: str,
  beam_size: int,
  n_best: int,
  length_penalty: float,
  coverage_penalty: float,
  temperature: float,
  seed: int,
) -> None:
  """Translates the lines of a file as they come; what is written stays if it is interrupted.

  An empty line gives an empty line. With `n_best` above 1 a line is: number of the input line,
  score, translation, separated by tabs.

  Raises:
    InputError: a number out of range, an input that cannot be read or that is in the target
    language.
  """
  beam = Beam(beam_size, length_penalty, coverage_penalty)
  check_beam(beam)
  require(
    'n_best', n_best, 1 <= n_best <= beam_size, f'an integer in [1, {beam_size}], the beam_size'
  )
  require(
    'n_best',
    n_best,
    n_best == 1 or not temperature,
    '1 where translations are drawn (temperature above 0)',
  )
  require_seed('seed', seed)
  check_sampling(Sampling(temperature))
  _check_language(codec, input, 'input')
  how = Sampling(temperature) if temperature else beam
  run, key = translator(model, codec, how, max_length, n_best), jax.random.key(seed)
  lines, counts = _lines(input), {'empty': 0, 'cut': 0}
  if output != '-' and Path(output).exists() and input != '-' and Path(output).samefile(input):
    raise InputError(f'output is {output}, expected another file than that of input')
  with _open(output, 'output') if output != '-' else contextlib.nullcontext(sys.stdout) as out:
    for start in range(0, len(lines), _CHUNK):
      chunk = lines[start : start + _CHUNK]
      results = run(params, chunk, jax.random.fold_in(key, start))
      out.writelines(_written(results, start, n_best))
      out.flush()
      counts['empty'] += sum(not line for line in chunk)
      counts['cut'] += sum(best.cut for best, *_ in results)
  _warn(counts, max_length)
  print(f'{len(lines)} lines translated', file=sys.stderr)


def _check_language(codec, path, flag):
  here, there = codec.source.language, codec.target.language
  if there and here != there and language_of(path) == there:
    raise InputError(
      f'{flag} is {path}, which is named after {there}, expected {here or "the source language"}: '
      'the '
      f'model translates from {here or "it"} to {there}'
    )


def _lines(path: str) -> list[str]:
  if path != '-':
    lines = read_lines(path, 'input')
  else:
    data = sys.stdin.buffer.read()
    lines = cut_lines(data, 'input') if data else []
  return [line.strip() for line in lines]


def _open(path: str, flag: str):
  """Opens a file for writing; raises InputError, naming the flag, where that fails."""
  try:
    return open(path, 'w', encoding='utf-8')
  except OSError as e:
    raise InputError(f'{flag}: {path} cannot be written ({e.strerror})') from e


def _written(results: Sequence[list[Translation]], start: int, n_best: int) -> Iterator[str]:
  for number, found in enumerate(results, start + 1):
    for hypothesis in found[:n_best]:
      yield (
        f'{hypothesis.text}\n'
        if n_best == 1
        else f'{number}\t{hypothesis.score:.4f}\t{hypothesis.text}\n'
      )


def _warn(counts, max_length):
  if counts['empty']:
    print(
      f'warning: empty lines, {counts["empty"]} of them, have empty translations', file=sys.stderr
    )
  if counts['cut']:
    print(
      f'warning: lines of more than {max_length} symbols (data.max_length), {counts["cut"]} of '
      'them, were cut',
      file=sys.stderr,
    )


def score(
  scores: Callable, codec: Codec, params: Params, source: str, target: str, out: str
) -> None:
  """Writes a table of given pairs: log p(target | source), target symbols with the end, source,
  target.

  Raises:
    InputError: the pairs cannot be read.
  """
  require(
    'source', source, bool(source), 'a file of sentences, and --target that of their translations'
  )
  _check_language(codec, source, 'source')
  pairs = read_pairs(source, target, flag='source')
  with _open(out, 'out') if out else contextlib.nullcontext(sys.stdout) as f:
    _write_scores(scores, codec, params, pairs, f)


def _write_scores(scores, codec, params, pairs, f):
  values = np.zeros(len(pairs.sources))
  encoded = encode_pairs(codec, pairs)
  for places, batch in evaluation_batches(encoded):
    values[places] = -np.asarray(scores(params, batch), np.float64)[: len(places)]
  lengths = [len(ids) + 1 for ids in encoded.targets]
  blank = lambda text: text.replace('\t', ' ')
  f.write('log_probability\tsymbols\tsource\ttarget\n')
  f.writelines(
    f'{value:.6f}\t{length}\t{blank(a)}\t{blank(b)}\n'
    for value, length, a, b in zip(values, lengths, pairs.sources, pairs.targets, strict=True)
  )
  per_symbol = -values.sum() / sum(lengths)
  print(
    f'{len(values)} pairs, {pairs.empty} empty ones left out, {per_symbol:.4f} nats per target '
    'symbol, '
    f'perplexity {np.exp(per_symbol):.2f}',
    file=sys.stderr,
  )


def describe(
  codec: Codec,
  empty: Mapping[str, int],
  encoded: Mapping[str, EncodedPairs],
  num_trained: int,
  max_length: int,
  buckets: Sequence[Bucket],
) -> str:
  """Returns what is worth knowing of the data before training.

  Args:
    codec: of the languages.
    empty: split -> pairs that were left out since a side is empty.
    encoded: split -> pairs, also those that are too long to train on.
    num_trained: training pairs that are not.
    max_length: the longest that are not.
    buckets: shapes of batches.
  """
  lines = []
  for split, pairs in encoded.items():
    source, target = unknown_rates(pairs)
    too_long = len(pairs.sources) - num_trained if split == 'train' else 0
    left_out = f', {empty[split]} left out with an empty side' if empty[split] else ''
    left_out += (
      f', {too_long} of them left out with more than {max_length} symbols' if too_long else ''
    )
    lines.append(
      f'{split}: {len(pairs.sources):,} pairs{left_out}; unknown symbols {source:.2%} in sources, '
      f'{target:.2%} in targets'
    )
  sizes = (
    f'{len(side.lexicon.symbols):,} '
    f'{side.units.kind}s{f" ({side.language})" if side.language else ""}'
    for side in codec
  )
  shapes = ', '.join(f'{b.rows} x {b.source_length} to {b.target_length}' for b in buckets)
  return '\n'.join(
    [
      *lines,
      f'vocabularies: {" to ".join(sizes)}',
      f'batches, pairs x longest source to longest target: {shapes}',
    ]
  )
