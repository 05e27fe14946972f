"""Pictures with captions as a data set of tensorflow-datasets, prepared and read without
TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnn_research.data import builders
from rnn_research.data.files import expand
from rnn_research.data.pictures import Pictures
from rnn_research.errors import InputError, require

NAME = 'captioned_pictures'


def prepare_captions(
  splits: Mapping[str, Sequence[tuple[str, Sequence[str]]]], pictures: Pictures, data_dir: str = ''
) -> Path:
  """Prepares pictures with captions as the data set `captioned_pictures`.

  Args:
    splits: 'train', and perhaps 'valid' and 'test' -> name of a picture and its captions, such as
      `Captions.splits`.
    pictures: where they are read; their files are kept as they are.
    data_dir: the folder of data sets; '' is tensorflow-datasets' own default.

  Returns:
    The folder of the data set.

  Raises:
    InputError: there is one, or a picture cannot be read.
  """
  import tensorflow_datasets as tfds

  tfds.disable_progress_bar()
  where = str(expand(data_dir)) if data_dir else None
  builder = _builder(splits, pictures)(data_dir=where, file_format='array_record')
  if Path(builder.data_path).exists():
    raise InputError(f'data_dir: {builder.data_path} is there already, expected another folder')
  builder.download_and_prepare()
  return Path(builder.data_path)


def _builder(splits, pictures) -> type:
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core import registered

  with registered.skip_registration():

    class CaptionedPictures(tfds.core.GeneratorBasedBuilder):
      """Pictures, as the files they are, with captions."""

      VERSION = tfds.core.Version('1.0.0')

      def _info(self):
        # `features.Image` decodes with TensorFlow.
        text = tfds.features.Text()
        features = {'name': text, 'picture': text, 'captions': tfds.features.Sequence(text)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

      def _split_generators(self, dl_manager):
        return {builders.SPLITS[split]: self._generate_examples(split) for split in splits}

      def _generate_examples(self, split):
        for name, captions in splits[split]:
          yield name, {'name': name, 'picture': pictures.read(name), 'captions': list(captions)}

  return CaptionedPictures


def read_captions(name: str, data_dir: str) -> tuple[dict[str, dict[str, list[str]]], Pictures]:
  """Reads a data set of `prepare_captions`.

  Args:
    name: `captioned_pictures[:version]`, or any that has its features.
    data_dir: as in `prepare_captions`.

  Returns:
    Split -> name of a picture -> its captions, and where the pictures are read.

  Raises:
    FileNotFoundError: the data set is not there.
    InputError: it has other features.
  """
  builder = builders.prepared_builder(name, data_dir)
  kind = builder.info.file_format.value
  require(
    'data.tfds', name, kind == 'array_record', f'a data set of array_record files, not {kind}'
  )
  lacking = {'name', 'picture', 'captions'} - set(builder.info.features)
  if lacking:
    raise InputError(
      f'data.tfds: {name} has the features {", ".join(builder.info.features)}, expected '
      f'{", ".join(sorted(lacking))} with them, as prepare_captions writes'
    )
  splits: dict[str, dict[str, list[str]]] = {}
  places = {}
  for split, theirs in builders.SPLITS.items():
    if theirs in builder.info.splits:
      source = builder.as_data_source(theirs)
      for index in range(len(source)):
        example = source[index]
        picture = example['name'].decode()
        splits.setdefault(split, {})[picture] = [text.decode() for text in example['captions']]
        places[picture] = source, index

  def read(picture):
    source, index = places[picture]
    return source[index]['picture']

  return splits, Pictures(sorted(places), read)
