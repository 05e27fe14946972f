"""What a trained language model can do: write and score; and its modes of the command line."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from rnn_research.cell import Cell
from rnn_research.data.codec import TextCodec
from rnn_research.data.files import decode_text, open_output, read_input, require_data_kept
from rnn_research.data.running_text import BYTE_ORDER_MARK
from rnn_research.decoding.beam import Beam
from rnn_research.decoding.decode import decode
from rnn_research.decoding.sampling import Sampling, check_sampling
from rnn_research.decoding.step import NO_SPECIALS, Rules, hypotheses_of
from rnn_research.errors import InputError, require, require_seed, require_size, require_sizes
from rnn_research.experiment import Command, flags_of
from rnn_research.models.language_model import LanguageModel
from rnn_research.tasks.language.clamps import check_clamps, held_sampler
from rnn_research.tasks.language.errors import ERRORS, compare_errors
from rnn_research.tasks.language.evaluation import exact_scores
from rnn_research.tasks.language.interpret import INTERPRET, activations, interpret
from rnn_research.tasks.language.lstmvis import EXPORT_LSTMVIS, export_lstmvis
from rnn_research.tasks.language.sentiment import SENTIMENT, sentiment
from rnn_research.tasks.language.source import HELD_OUT, prompt_ids, split_ids
from rnn_research.tasks.language.verify import verify
from rnn_research.tasks.language.verify_mode import VERIFY
from rnn_research.training.progress import tell, warn
from rnn_research.typing import Key, Params

# Symbols that a warning names.
_SHOWN = 10
_COMPILED = 8  # programs of searches, and of units that are held, that are kept


def commands_of(
  model: LanguageModel,
  remake: Callable[[tuple[Cell, ...]], LanguageModel],
  generate: Callable,
  codec: TextCodec,
  read: Callable,
  texts: Callable,
) -> dict[str, Callable]:
  """Returns what a trained language model can do: command -> `(params, ..) -> value`.

  Args:
    model: the language model.
    remake: `cells -> model`, the same of other cells.
    generate: of `decoding.language.sampler`.
    codec: of the model.
    read: compiled `models.language_model.read_on` of the model.
    texts: `() -> split -> ids`.
  """

  score = functools.partial(exact_scores, model, read)
  few = functools.lru_cache(_COMPILED)
  held = few(lambda clamp: held_sampler(model, remake, codec, clamp))
  make_search = few(functools.partial(_searcher, model, codec))

  def choose(params, clamp):
    if not clamp:
      return generate
    check_clamps(model, params, clamp)
    return held(clamp)

  return {
    'sample': functools.partial(sample, choose, codec),
    'stream': functools.partial(stream, choose, codec),
    'readable': lambda params, prompt: readable(codec, prompt),
    'search': functools.partial(search, make_search, codec),
    'score': functools.partial(log_probs, score, codec, texts),
    'scores': functools.partial(scores, score, codec, texts),
    'interpret': functools.partial(interpret, model, codec, texts),
    'activations': functools.partial(activations, model, codec),
    'verify': functools.partial(verify, model, remake, codec),
    'errors': functools.partial(compare_errors, score, codec, texts),
    'sentiment': functools.partial(sentiment, model, codec),
    'export_lstmvis': functools.partial(export_lstmvis, model, codec, texts),
  }


def write(
  generate: Callable[..., Iterator],
  codec: TextCodec,
  params: Params,
  prompt: str,
  length: int,
  key: Key,
  sampling: Sampling,
) -> Iterator[str]:
  """Returns an iterator over pieces of text that the model writes after `prompt`; '' stands for a
  line end.

  Args:
    generate: of `decoding.language.sampler`.
    codec: of the model.
    params: of the model.
    prompt: what is read before; the model knows its symbols.
    length: symbols.
    key: of the draws.
    sampling: how symbols are drawn.
  """
  drawn = generate(params, prompt_ids(codec, prompt)[:, None], length, key, sampling)
  return codec.decode_pieces((ids[:, 0] for ids in drawn), prompt)


def readable(codec: TextCodec, prompt: str) -> str:
  """Returns what a model can read of a prompt: all but what it never saw, which a warning names.

  Raises:
    InputError: nothing is left.
  """
  unknown = codec.unseen(prompt)
  if not unknown:
    return prompt
  shown = ', '.join(hex(s) if codec.unit == 'byte' else repr(s) for s in unknown[:_SHOWN])
  if len(unknown) > _SHOWN:
    shown += f' and {len(unknown) - _SHOWN} more'
  known = codec.known_part(prompt)
  if not known:
    raise InputError(f'prompt has nothing but {shown}, which the model never saw in training')
  warn(f'prompt has {shown}, skipped: never seen in training')
  return known


def stream(
  choose: Callable[[Params, str], Callable[..., Iterator]],
  codec: TextCodec,
  params: Params,
  prompt: str = '',
  length: int = 500,
  temperature: float = 0.8,
  top_k: int = 0,
  top_p: float = 1.0,
  seed: int = 0,
  clamp: str = '',
) -> Iterator[str]:
  """Returns an iterator over pieces of text, `length` symbols in all, that the model writes after
  `prompt`.

  Args:
    choose: `(params, clamp) -> generate` of `write`.
    codec: see `write`, as for `params`.
    prompt: what is read before, see `readable`.
    length: symbols to write.
    temperature: see `Sampling`, as for `top_k` and `top_p`.
    seed: of the sampling.
    clamp: units that stay at a value while it writes, see `read_clamps`; '' for none.

  Raises:
    InputError: a number out of range, a unit that the model lacks, or a prompt of which nothing is
      readable.
  """
  require_size('length', length)
  require_seed('seed', seed)
  sampling = Sampling(temperature, top_k, top_p)
  check_sampling(sampling)
  known = readable(codec, prompt)
  generate = choose(params, clamp)
  return write(generate, codec, params, known, length, jax.random.key(seed), sampling)


def sample(choose: Callable, codec: TextCodec, params: Params, prompt: str = '', **options) -> str:
  """Returns what is readable of `prompt` and what the model writes after it; see `stream`."""
  known = readable(codec, prompt)
  return known + ''.join(stream(choose, codec, params, known, **options))


class Continuation(NamedTuple):
  """A text that goes on from a prompt, and the sum of the model's log p of its symbols, in nats."""

  text: str
  log_prob: float


def search(
  make: Callable[[int, int], Callable],
  codec: TextCodec,
  params: Params,
  prompt: str = '',
  length: int = 100,
  beam: int = 5,
) -> list[Continuation]:
  """Returns the most probable texts of `length` symbols after `prompt` that beam search finds, best
  first.

  Args:
    make: `(length, beam) -> _searcher`.
    codec: of the model.
    params: of the model.
    prompt: what is read before, see `readable`.
    length: symbols to write.
    beam: texts that are kept at every step, and returned; 1 is greedy.

  Raises:
    InputError: a number out of range, or a prompt of which nothing is readable.
  """
  require_sizes(length=length, beam=beam)
  prompt = readable(codec, prompt)
  found = make(length, beam)(params, prompt_ids(codec, prompt))
  return [
    Continuation(''.join(codec.decode_pieces([one.ids], prompt)), one.log_prob)
    for one in hypotheses_of(jax.device_get(found), 0)
  ]


def _searcher(model, codec, length, beam):
  """Compiles the search: `(params, ids of a prompt) -> hypotheses`."""
  rules = Rules(length, codec.never_written, NO_SPECIALS)

  @jax.jit
  def run(params, ids):
    state = model.initial_state(params, 1)
    if len(ids) > 1:
      state, _ = model.unroll(params, state, ids[:-1, None])
    stepper = lambda copies: model.stepper(model.prepare(params, copies))
    return decode(stepper, state, ids[-1:], np.array([length]), rules, Beam(beam, 0.0))

  return run


def print_sample(run: Any, prompt: str, prompt_file: str, **options) -> None:
  """Prints what is readable of a prompt, given or in a file, and what the model writes after it, as
  it comes."""
  if prompt and prompt_file:
    raise InputError(f'prompt is {prompt!r} and prompt_file {prompt_file!r}, expected one of them')
  if prompt_file:
    prompt = _read_prompt(prompt_file, run.config.data.unit)
  prompt = run.readable(prompt)
  pieces = run.stream(prompt, **options)
  for piece in itertools.chain([prompt], pieces, ['\n']):
    print(piece, end='', flush=True)


def print_found(run: Any, **options) -> None:
  """Prints what `search` finds, a text in quotes per line, after the sum of its log p."""
  for one in run.search(**options):
    print(f'{one.log_prob:.4f}\t{one.text!r}')


def _read_prompt(path, unit):
  data = read_input(path, 'prompt_file')
  if unit == 'byte':  # of any bytes, as the training text may be
    return data.decode('utf-8', 'surrogateescape')
  text = decode_text(data, f'prompt_file: {path}', 'convert it')
  return text.removeprefix(BYTE_ORDER_MARK)


def scores(
  score: Callable,
  codec: TextCodec,
  texts: Callable,
  params: Params,
  text: str | None = None,
  split: str = '',
) -> tuple[list, np.ndarray]:
  """Returns the symbols of a text, and the log-probabilities of all but the first, which nothing
  predicts: [N - 1] float64.

  Args:
    score: `(params, ids) -> log p` of `evaluation.exact_scores`.
    codec: of the model.
    texts: `() -> split -> ids`.
    params: of the model.
    text: by default that of a split.
    split: 'train', 'valid' or 'test'; by default the last of `texts()`.

  Raises:
    InputError: there is no such split, a text is given too, or fewer than 2 symbols.
  """
  require('split', split, not split or text is None, 'none where a text is given')
  ids = split_ids(texts(), split) if text is None else codec.encode(text)
  if len(ids) < 2:
    raise InputError(f'the text to score has {len(ids)} symbols, expected 2 at least')
  return [codec.symbols[i] for i in ids], score(params, ids)


def log_probs(
  score: Callable,
  codec: TextCodec,
  texts: Callable,
  params: Params,
  text: str | None = None,
  split: str = '',
) -> np.ndarray:
  """Returns the second part of `scores`."""
  return scores(score, codec, texts, params, text, split)[1]


def write_scores(run: Any, split: str, out: str) -> None:
  """Writes a table of `scores`; raises InputError where it would overwrite a text of the run."""
  require_data_kept('out', out, run.config.data, ('path', *HELD_OUT))
  symbols, scores = run.scores(split=split)
  values = itertools.chain([''], (f'{value:.6f}' for value in scores))
  rows = (
    f'{i}\t{symbol!r}\t{value}\n'
    for i, (symbol, value) in enumerate(zip(symbols, values, strict=True))
  )
  with open_output(out, 'out') as f:
    f.writelines(itertools.chain(['position\tsymbol\tlog_probability\n'], rows))
  tell(f'{len(scores)} predictions, {-scores.mean():.4f} nats per symbol')


_PROMPT = "text that is read first; $'line one\\n' has a line end (bash, zsh)"

COMMANDS = {
  'sample': Command(
    'writes text that goes on from a prompt',
    {
      **flags_of(stream, prompt=_PROMPT),
      'prompt_file': ('', 'its file, UTF-8, read with its last line end; - is standard input'),
      **flags_of(
        stream,
        length='symbols to write',
        temperature='divides the logits; 0 takes the most probable symbol',
        top_k='keeps the k most probable symbols; 0 keeps all',
        top_p='keeps the most probable symbols up to this probability',
        seed='of the sampling',
        clamp="units that stay at a value, such as '1:c23=2.5': layer, unit, value",
      ),
    },
    print_sample,
    example="--prompt='the ' --length=500",
  ),
  'search': Command(
    'finds the most probable texts that go on from a prompt, with the log p of each, in nats',
    flags_of(
      search,
      prompt=_PROMPT,
      length='symbols to write',
      beam='texts that are kept at every step, and printed; 1 is greedy',
    ),
    print_found,
  ),
  'score': Command(
    'writes the log-probability of every symbol of a split, or of another text with '
    '--config.data.path',
    {
      'split': ('', 'train, valid or test; by default the last held-out one'),
      'out': ('', 'file for the table; by default it is printed'),
    },
    write_scores,
    reads_data=True,
  ),
  'interpret': INTERPRET,
  'verify': VERIFY,
  'errors': ERRORS,
  'sentiment': SENTIMENT,
  'export_lstmvis': EXPORT_LSTMVIS,
}
