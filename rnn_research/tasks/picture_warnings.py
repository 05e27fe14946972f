"""What is said of pictures that are left out, and of those that may be measured wrongly."""

from collections.abc import Mapping
from typing import Any

from rnn_research.data.image_set import ImageSet
from rnn_research.data.pictures import unread
from rnn_research.training.progress import warn


def warn_of_shares(found: ImageSet, fingerprint: str, trained: Mapping[str, Any] | None) -> None:
  """Warns of classes that are not measured, and of pictures that were trained on and are measured.

  Args:
    found: pictures.
    fingerprint: of what is trained on.
    trained: of a trained model, with the 'fingerprint' of what it was trained on.
  """
  if found.scarce:
    warn(
      f'data.path has one or two pictures of {", ".join(found.scarce)}: none of them is held out'
    )
  if found.shared and trained and trained.get('fingerprint', fingerprint) != fingerprint:
    warn(
      'data.path has other pictures than the model was trained on; those that were trained on may '
      'be among those that are held out here'
    )


def warn_of_unread(path: str) -> None:
  """Warns of the files of --input that are no pictures by their names."""
  if others := unread(path):
    warn(others)
