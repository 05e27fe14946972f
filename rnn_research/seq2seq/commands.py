"""Modes of a trained translator: translate lines, score given pairs; and what is said of the data before training."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from rnn_research.beam import check_beam
from rnn_research.data.buckets import Bucket, EncodedPairs, evaluation_batches
from rnn_research.data.files import decode_text, read_bytes
from rnn_research.data.pairs import language_of, read_pairs
from rnn_research.decoding import Sampling, check_sampling
from rnn_research.errors import InputError
from rnn_research.seq2seq.corpus import Codec, encode_pairs, unknown_rates
from rnn_research.seq2seq.model import EncoderDecoder
from rnn_research.seq2seq.translator import Beam, Translation, translator
from rnn_research.training.config import require, require_seed
from rnn_research.typing import Params

# Lines that are translated, and written, together.
_CHUNK = 256


def translate(model: EncoderDecoder, codec: Codec, max_length: int, params: Params, input: str, output: str,
              beam_size: int, n_best: int, length_penalty: float, coverage_penalty: float, temperature: float,
              seed: int) -> None:
  """Translates the lines of a file as they come; what is written stays if it is interrupted.

  An empty line gives an empty line. With `n_best` above 1 a line is: number of the input line, score, translation,
  separated by tabs.

  Raises:
    InputError: a number out of range, an input that cannot be read or that is in the target language.
  """
  check_beam(beam_size, length_penalty, coverage_penalty)
  require('n_best', n_best, 1 <= n_best <= beam_size, f'an integer in [1, {beam_size}], the beam_size')
  require('n_best', n_best, n_best == 1 or not temperature, '1 where translations are drawn (temperature above 0)')
  require_seed('seed', seed)
  check_sampling(Sampling(temperature))
  _check_language(codec, input)
  how = Sampling(temperature) if temperature else Beam(beam_size, length_penalty, coverage_penalty)
  run, key = translator(model, codec, how, max_length, n_best), jax.random.key(seed)
  lines, counts = _lines(input), {'empty': 0, 'cut': 0}
  with open(output, 'w', encoding='utf-8') if output != '-' else contextlib.nullcontext(sys.stdout) as out:
    for start in range(0, len(lines), _CHUNK):
      chunk = lines[start:start + _CHUNK]
      results = run(params, chunk, jax.random.fold_in(key, start))
      out.writelines(_written(results, start, n_best))
      out.flush()
      counts['empty'] += sum(not line.strip() for line in chunk)
      counts['cut'] += sum(best.cut for best, *_ in results)
  _warn(counts, max_length)
  print(f'{len(lines)} lines translated', file=sys.stderr)


def _check_language(codec, path):
  here, there = codec.source.language, codec.target.language
  if there and here != there and language_of(path) == there:
    raise InputError(f'input is {path}, which is named after {there}, expected {here or "the source language"}: the '
                     f'model translates from {here or "it"} to {there}')


def _lines(path: str) -> list[str]:
  data = sys.stdin.buffer.read() if path == '-' else read_bytes(path, flag='input')
  text = decode_text(data, 'input' if path == '-' else f'input: {path}', 'convert it')
  return text.removeprefix('\ufeff').removesuffix('\n').split('\n') if text else []


def _written(results: Sequence[list[Translation]], start: int, n_best: int) -> Iterator[str]:
  for number, found in enumerate(results, start + 1):
    for hypothesis in found[:n_best]:
      yield f'{hypothesis.text}\n' if n_best == 1 else f'{number}\t{hypothesis.score:.4f}\t{hypothesis.text}\n'


def _warn(counts, max_length):
  if counts['empty']:
    print(f'warning: {counts["empty"]} empty lines gave empty lines', file=sys.stderr)
  if counts['cut']:
    print(f'warning: {counts["cut"]} lines have more than {max_length} symbols (data.max_length) and were cut',
          file=sys.stderr)


def score(scores: Callable, codec: Codec, params: Params, source: str, target: str, out: str) -> None:
  """Writes a table of given pairs: log p(target | source), target symbols with the end, source, target.

  Raises:
    InputError: the pairs cannot be read.
  """
  require('source', source, bool(source), 'a file of sentences, and --target that of their translations')
  pairs = read_pairs(source, target, flag='source')
  values = np.zeros(len(pairs.sources))
  encoded = encode_pairs(codec, pairs)
  for places, batch in evaluation_batches(encoded):
    values[places] = -np.asarray(scores(params, batch), np.float64)[:len(places)]
  lengths = [len(ids) + 1 for ids in encoded.targets]
  with open(out, 'w', encoding='utf-8') if out else contextlib.nullcontext(sys.stdout) as f:
    f.write('log_probability\tsymbols\tsource\ttarget\n')
    f.writelines(f'{value:.6f}\t{length}\t{a}\t{b}\n' for value, length, a, b in zip(
        values, lengths, pairs.sources, pairs.targets, strict=True))
  per_symbol = -values.sum() / sum(lengths)
  print(f'{len(values)} pairs, {pairs.empty} empty ones left out, {per_symbol:.4f} nats per target symbol, '
        f'perplexity {np.exp(per_symbol):.2f}', file=sys.stderr)


def describe(codec: Codec, empty: Mapping[str, int], encoded: Mapping[str, EncodedPairs], num_trained: int,
             max_length: int, buckets: Sequence[Bucket]) -> str:
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
    left_out += f', {too_long} of them left out with more than {max_length} symbols' if too_long else ''
    lines.append(f'{split}: {len(pairs.sources):,} pairs{left_out}; unknown symbols {source:.2%} in sources, '
                 f'{target:.2%} in targets')
  sizes = (f'{len(side.lexicon.symbols):,} {side.units.kind}s{f" ({side.language})" if side.language else ""}'
           for side in codec)
  shapes = ', '.join(f'{b.rows} x {b.source_length} to {b.target_length}' for b in buckets)
  return '\n'.join([*lines, f'vocabularies: {" to ".join(sizes)}',
                    f'batches, pairs x longest source to longest target: {shapes}'])
