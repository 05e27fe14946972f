"""Texts of tensorflow-datasets, read and prepared without TensorFlow, and our own
`tiny_shakespeare` builder."""

import hashlib
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rnn_research.data.files import decode_text, expand, read_bytes
from rnn_research.errors import InputError

URL = 'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt'
SHA256 = '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed'

SPLITS = {'train': 'train', 'valid': 'validation', 'test': 'test'}  # ours -> as they call them


def prepared_builder(name: str, data_dir: str = '', download: bool = False):
  """Returns a read-only builder of a data set that is prepared in a folder, by us or by stock
  tensorflow-datasets.

  Args:
    name: `name[/config][:version]`.
    data_dir: the folder; '' is tensorflow-datasets' own default.
    download: whether `tiny_shakespeare` may be downloaded and prepared where it is not there.

  Raises:
    FileNotFoundError: the data set is not there and may not or cannot be downloaded.
    InputError: the name cannot be read, or the download failed.
  """
  from tensorflow_datasets.core import constants, read_only_builder, registered

  data_dir = str(expand(data_dir)) if data_dir else ''

  def find():
    return read_only_builder.builder_from_files(name, data_dir=data_dir or None)

  try:
    return find()
  except registered.DatasetNotFoundError:
    missing = f'data.tfds: there is no prepared {name!r} in {data_dir or constants.DATA_DIR}'
  except ValueError as error:
    raise InputError(f'data.tfds: {str(error).splitlines()[0]}') from error
  if name != 'tiny_shakespeare':
    raise FileNotFoundError(
      f'{missing}; prepare it with tensorflow-datasets, or name its folder with data.data_dir'
    )
  if not download:
    raise FileNotFoundError(
      f'{missing}; pass --config.data.download=true, or prepare it from a file that you have with '
      'rnn_research.data.builders.prepare_tiny_shakespeare(raw_path, data_dir)'
    )
  _prepare(_download(), data_dir)
  return find()


def prepare_tiny_shakespeare(raw_path: str, data_dir: str = '') -> Path:
  """Prepares `tiny_shakespeare` from its raw text (a file or `.gz`), if it is not there yet;
  returns its folder."""
  return _prepare(read_bytes(raw_path, flag='raw_path'), data_dir)


def _download() -> bytes:
  """Returns the raw text of `tiny_shakespeare` from the network."""
  try:
    with urllib.request.urlopen(URL, timeout=60) as response:
      data = response.read()
  except OSError as error:
    raise InputError(f'data.download: cannot download {URL} ({error})') from error
  if hashlib.sha256(data).hexdigest() != SHA256:
    raise InputError(f'data.download: {URL} is not the file expected (its sha256 differs)')
  return data


def _prepare(raw: bytes, data_dir: str) -> Path:
  """Runs our builder on the raw text."""
  import tensorflow_datasets as tfds

  tfds.disable_progress_bar()
  builder = _tiny_shakespeare(raw)(data_dir=data_dir or None, file_format='array_record')
  builder.download_and_prepare()
  return Path(builder.data_path)


def _tiny_shakespeare(raw: bytes) -> type:
  """Returns a builder with the features and splits (90/5/5 by position) of the stock one, which
  needs TensorFlow."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import registered

  with registered.skip_registration():

    class TinyShakespeare(tfds.core.GeneratorBasedBuilder):
      """40,000 lines of Shakespeare, as in Karpathy's char-rnn."""

      VERSION = tfds.core.Version('1.0.0')

      def _info(self):
        features = tfds.features.FeaturesDict({'text': tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=URL)

      def _split_generators(self, dl_manager):
        text = decode_text(raw, 'tiny_shakespeare', 'convert it')
        start = int(len(text) * 0.9)
        middle = start + int((len(text) - start) * 0.5)
        parts = {'train': text[:start], 'validation': text[start:middle], 'test': text[middle:]}
        return {split: self._generate_examples(split, part) for split, part in parts.items()}

      def _generate_examples(self, split, text):
        yield split, {'text': text}

  return TinyShakespeare


def read_text(builder, split: str) -> bytes:
  """Returns the feature 'text' of all examples of a split, joined by newlines.

  Raises:
    InputError: the data set has no such split or feature.
  """
  info = builder.info
  for kind, wanted, found in (('split', split, info.splits), ('feature', 'text', info.features)):
    if wanted not in found:
      raise InputError(
        f'data.tfds: {info.name} has no {kind} {wanted!r}, it has {", ".join(found)}'
      )
  return b'\n'.join(example['text'] for example in examples(builder, split))


def examples(builder, split: str) -> Iterator[dict]:
  """Yields the examples of a split as dicts of NumPy values."""
  if builder.info.file_format.value != 'tfrecord':
    yield from builder.as_data_source(split)
    return
  for path in builder.info.splits[split].filepaths:
    yield from map(
      builder.info.features.deserialize_example_np, _tfrecords(Path(path).read_bytes())
    )


def _tfrecords(data: bytes) -> Iterator[bytes]:
  """Yields the records of a TFRecord file: length (uint64), its checksum (uint32), record, checksum
  (uint32)."""
  position = 0
  while position < len(data):
    (length,) = struct.unpack_from('<Q', data, position)
    yield data[position + 12 : position + 12 + length]
    position += 16 + length
