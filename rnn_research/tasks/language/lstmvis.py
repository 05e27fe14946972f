"""What a language model does over a text, as the files that LSTMVis shows: a mode of its own."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from rnn_research.analysis.measures.recording import record
from rnn_research.data.codec import TextCodec
from rnn_research.data.files import expand
from rnn_research.data.running_text import UNKNOWN, UNKNOWN_BYTE
from rnn_research.errors import InputError, require
from rnn_research.experiment import Command, flags_of
from rnn_research.models.language_model import LanguageModel
from rnn_research.tasks.language.source import UNITS, read_ids
from rnn_research.training.progress import open_counter, tell
from rnn_research.typing import Params

_SPACE = '\u2423'  # an open box, since white space parts the columns of the dictionary


def export_lstmvis(
  model: LanguageModel,
  codec: TextCodec,
  texts: Callable,
  params: Params,
  out: str,
  text: str = '',
  length: int = 100_000,
) -> Path:
  """Writes what a model does over a text for LSTMVis, and returns the folder, a project of it.

    states.hdf5   states1_c, states1_h ..: [N, W] float32, a leaf of a layer's state after each
                  symbol
    train.hdf5    word_ids: [N] int64, the symbols; probability: [N] float32, what the model gave to
                  each before it read it, 0 to the first
    train.dict    symbol and id, a line each
    lstm.yml      what is where

  The state begins as the initial one. The text passes through memory in pieces.

  Args:
    model: the language model.
    codec: of the model.
    texts: `() -> split -> ids`.
    params: of the model.
    out: the folder; it is made where it is missing, and these files in it are written anew.
    text: a UTF-8 file, .gz file or folder; '' is the last held-out split.
    length: N, the most symbols, from its beginning on.

  Raises:
    InputError: the package h5py is missing, or there is no such text or nothing in it.

  Source: the file formats that LSTMVis 2 (Strobelt, Gehrmann, Pfister and Rush 2018) describes.
  Deviates from the paper: nothing.
  """
  h5py = _package()
  require('out', out, bool(out), 'a folder')
  require('length', length, length >= 1, 'an integer >= 1')
  ids, folder = read_ids(codec, texts, text, length), expand(out)
  require('text', text, len(ids) >= 1, 'a text with a symbol at least')
  folder.mkdir(parents=True, exist_ok=True)
  pieces, counter = record(model, params, ids), closing(open_counter(len(ids), 'symbols'))
  with counter as display, h5py.File(folder / 'states.hdf5', 'w') as file:
    largest, log_probs = _write_states(file, pieces, len(ids), display.update)
  with h5py.File(folder / 'train.hdf5', 'w') as file:
    file['word_ids'] = ids.astype(np.int64)
    file['probability'] = np.exp(np.append(np.float32(-np.inf), log_probs[:-1]))
  words = (f'{visible(symbol)} {i}\n' for i, symbol in enumerate(codec.symbols))
  (folder / 'train.dict').write_text(''.join(words), 'utf-8')
  config = _config(folder.resolve().name, codec.unit, len(ids), largest)
  # JSON is YAML.
  (folder / 'lstm.yml').write_text(json.dumps(config, indent=2) + '\n', 'utf-8')
  return folder


def _write_states(file, pieces, length, show):
  """Writes the states of pieces; returns the largest absolute value of each array, and the
  log-probabilities of the symbols that follow, [N] float32."""
  largest, log_probs, done = {}, [], 0
  for piece in pieces:
    log_probs.append(piece.log_probs)
    start, done = done, done + len(piece.log_probs)
    for layer, leaves in enumerate(piece.states, 1):
      for name, values in leaves.items():
        path = f'states{layer}_{name}'
        file.require_dataset(path, (length, values.shape[1]), np.float32)[start:done] = values
        most = largest.get((layer, name), 0.0)
        largest[layer, name] = max(most, float(np.abs(values).max()))
    show(done)
  return largest, np.concatenate(log_probs)


def visible(symbol: str | int) -> str:
  r"""Returns a symbol as a word of printable characters: a space as U+2423, a line end as \n, other
  white space and bytes beyond ASCII as escapes, such as \t and \xe9."""
  if symbol in (UNKNOWN, UNKNOWN_BYTE):
    return UNKNOWN
  if isinstance(symbol, int):
    return visible(chr(symbol)) if symbol < 128 else f'\\x{symbol:02x}'
  shown = lambda c: (
    c if c.isprintable() and not c.isspace() else c.encode('unicode_escape').decode()
  )
  return ''.join(_SPACE if c == ' ' else shown(c) for c in symbol)


def _package():
  """Returns h5py; raises InputError where it is missing."""
  try:
    import h5py
  except ImportError as error:
    raise InputError(
      "files for LSTMVis need the package h5py: pip install 'rnn_research[lstmvis]'"
    ) from error
  return h5py


def _config(name, unit, length, largest):
  """Returns what lstm.yml says. LSTMVis takes tanh of states, unless it is told that they lie in
  [-1, 1]."""
  types = [
    {
      'type': 'output' if leaf == 'h' else 'state',
      'layer': layer,
      'path': f'states{layer}_{leaf}',
      **({'transform': 'none'} if most <= 1.0 else {}),
    }
    for (layer, leaf), most in largest.items()
  ]
  scalar = {'type': 'scalar', 'range': [0, 1]}
  return {
    'name': name,
    'description': f'A language model over {length:,} {UNITS[unit]}: its state after each.',
    'files': {'states': 'states.hdf5', 'train': 'train.hdf5', 'words': 'train.dict'},
    'word_sequence': {'file': 'train', 'path': 'word_ids', 'dict_file': 'words'},
    'states': {'file': 'states', 'types': types},
    'meta': {'probability': {'file': 'train', 'path': 'probability', 'vis': scalar}},
    'etc': {'regex_search': unit != 'word'},  # it matches one letter of each symbol
  }


def print_export(run: Any, **options) -> None:
  """Writes the files of `export_lstmvis` and says where they are."""
  tell(f'a project of LSTMVis: {run.export_lstmvis(**options)}')


EXPORT_LSTMVIS = Command(
  'writes the states over a text for LSTMVis, as HDF5',
  {
    'out': ('', 'folder for the files'),
    **flags_of(
      export_lstmvis,
      text='UTF-8 file, .gz file or folder; by default the last held-out split',
      length='symbols to read at most',
    ),
  },
  print_export,
  reads_data=True,
)
